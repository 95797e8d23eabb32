"""The HTML report of a scale: one self-contained page, readable from a file without a network."""

from editfrontier.study.report.page import build_report as build_report
