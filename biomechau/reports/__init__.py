"""Reports: the forces of a capture, the demonstration, pictures and tables of both."""

from biomechau.reports.demo import demonstrate as demonstrate
from biomechau.reports.face_forces import FaceForces as FaceForces, asymmetry as asymmetry
from biomechau.reports.forces_report import ForcesReport as ForcesReport, analyse as analyse, summarise as summarise
from biomechau.reports.output import write_report as write_report
from biomechau.reports.replay import Replay as Replay
from biomechau.reports.rig_report import describe_rig as describe_rig
