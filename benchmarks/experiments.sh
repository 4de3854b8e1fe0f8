#!/usr/bin/env bash
# The paper's experiments on simulated people: corpora, tables, figures and a report. A run that was stopped goes on when
# it is given again.
#
#   benchmarks/experiments.sh OUT [RIG]      RIG: a rig file, "builtin:9409" if not given
set -euo pipefail
out=$1 rig=${2:-builtin:9409}
corpus=$out/corpus other=$out/other
# The recipe of 0.1.0, which the published tables are of.
recipe=(--displays table --sides tied --trackers alike --label-level None)

[ -e "$corpus" ] || biomechau simulate --rig "$rig" --out "$corpus" "${recipe[@]}" --meshes --images
# Other people and tissue, milder differences between them, a better tracker, coders who ask for more, another camera.
[ -e "$other" ] || biomechau simulate --rig "$rig" --out "$other" "${recipe[@]}" \
  --seed 1 --subjects 24 --fps 30 --frames 115 --hardness 1.5 --label-rate 0.7
biomechau corpus train-features "$corpus"

biomechau experiment table1 --corpus "$corpus" --out "$out/coefficients"
biomechau experiment table1 --corpus "$corpus" --out "$out/meshes" --source mesh --rows force physics
biomechau experiment table4 --corpus "$corpus" --out "$out/coefficients"
biomechau experiment table4 --corpus "$corpus" --out "$out/meshes" --source mesh \
  --rows labels05_position labels05_force_au labels05_force labels05_physics_au labels05_physics
biomechau experiment table5 --corpus "$corpus" --other "$other" --out "$out/coefficients"
biomechau experiment ablation --corpus "$corpus" --out "$out/coefficients"

run=$out/coefficients/table1/runs/physics/seed0
biomechau experiment figures --corpus "$corpus" --run "$run" --out "$out"
biomechau report "$run" --corpus "$corpus" --out "$out/report.html"
for table in "$out"/{coefficients,meshes}/*/; do
  biomechau report "$table" --out "${table%/}/report.html"
done
