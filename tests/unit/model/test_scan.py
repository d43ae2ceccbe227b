from datetime import UTC, date, datetime

import pytest

from imagepipe.model.scan import ScanReport, ScanStatus, Vulnerability, Waiver, rank

FOUND = Vulnerability("CVE-2026-1", "musl", "High", "1.2.5")


def test_severities_are_ordered_as_harbor_orders_them_and_an_unknown_word_is_the_worst() -> None:
    words = ["None", "Unknown", "Negligible", "Low", "Medium", "High", "Critical", "Catastrophic"]
    assert sorted(words, key=rank) == words


def test_a_report_is_as_bad_as_its_worst_part_says() -> None:
    assert ScanReport(ScanStatus.DONE, "Low", {"Critical": 1, "High": 0}).worst == rank("critical")
    assert ScanReport(ScanStatus.DONE, "High", {"Critical": 0}).worst == rank("high")


def test_a_report_tells_its_counts_worst_first() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    report = ScanReport(ScanStatus.DONE, "High", {"Low": 1, "High": 2}, 1, when, "Trivy v0.68.1")
    assert str(report) == "worst high (2 high, 1 low; 1 fixable) by Trivy v0.68.1 of 2026-01-02T00:00:00Z"
    assert str(ScanReport(ScanStatus.DONE)) == "nothing found by an unnamed scanner"


@pytest.mark.parametrize(("today", "covered"), [(date(2026, 1, 2), True), (date(2026, 1, 3), False)])
def test_a_waiver_holds_up_to_its_last_day(today: date, covered: bool) -> None:
    waiver = Waiver("cve-2026-1", "dana", date(2026, 1, 2))
    assert waiver.covers(FOUND, today) is covered
    assert not waiver.covers(Vulnerability("CVE-2026-2", "musl", "High"), today)
    assert str(waiver) == "cve-2026-1 waived by dana until 2026-01-02"
    assert str(FOUND) == "CVE-2026-1 in musl (high)"
