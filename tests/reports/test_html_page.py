"""What the page's scripts make of the data: positions and forces as in Python, for every kind of force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from browser import opened

from biomechau.analysis import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.physics import PhysicsConfig
from biomechau.reports._html_page import Cell, Shown, details, page, table
from biomechau.reports.replay import Replay
from biomechau.rig import FaceRig

pytest.importorskip("matplotlib")


def test_the_browser_moves_and_colours_the_face_as_python_does(
    report: CaptureForces, tiny_rig: FaceRig, clip: FaceSequence, tmp_path: Path
) -> None:
    replays = [Replay.of_forces(report), Replay.of_forces(analyse(clip, tiny_rig, PhysicsConfig(force="vector")))]
    path = tmp_path / "page.html"
    path.write_text(page("clip", [], [], [Shown(replay) for replay in replays]), encoding="utf-8")
    with opened(path) as (browser, console, _):
        browser.wait_for_selector("#player[data-ready]")
        for index, replay in enumerate(replays):
            assert replay.forces is not None
            browser.evaluate(f"() => {{ biomechau.choose({index}); biomechau.show(17); }}")
            scene = replay.scene
            expected = scene.neutral + torch.tensordot(replay.coefficients[17], scene.blendshapes, 1)
            found = browser.evaluate("() => Array.from(biomechau.face.positions)")
            np.testing.assert_allclose(np.reshape(found, (-1, 3)), expected, atol=1e-3)
            level = scene.vertex_force(replay.forces[17:18].float())[0] / replay.peak_vertex_force()
            found = browser.evaluate("() => Array.from(biomechau.face.levels)")
            np.testing.assert_allclose(found, level, atol=1e-3)
            assert max(found) > 0.5
        assert [text for text in console if "GL Driver Message" not in text] == []


def test_text_is_escaped_everywhere(report: CaptureForces) -> None:
    bad = "</script><b>&\"'"
    parts = [
        table(bad, [bad], [[bad], [Cell(bad, 0.5)]], [bad], total=True),
        details(bad, {bad: [bad, {"deep": bad}]}),
    ]
    html = page(bad, [bad], parts, [Shown(Replay.of_forces(report), bad)])
    assert "<b>" not in html
    assert html.count("</script>") == 2
    assert html.count("&lt;/script&gt;&lt;b&gt;&amp;&quot;&#x27;") == 12
