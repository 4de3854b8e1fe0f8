"""Tables, figures, pages and files of the results of :mod:`biomechau.analysis` and :mod:`biomechau.training`."""

from biomechau.reports.output import write_prediction, write_report
from biomechau.reports.replay import Replay

__all__ = ["Replay", "write_prediction", "write_report"]
