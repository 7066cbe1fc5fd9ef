"""What a scrape costs: 64 live workers, 10,000 groups, read the first time and again."""

from __future__ import annotations

from .cores import CORES, Home, load


class Scrape:
    """A domain that 64 processes count in, each as many groups as the second parameter says."""

    params = (CORES, (157, 2_500))
    param_names = ("core", "groups_of_a_worker")
    timeout = 300

    def setup(self, core, each):
        fp = load(core)
        from faultplane.cli.bench import scrape

        self.home = Home(budget="256MiB")
        self.crowd = scrape.Crowd(64, each)
        self.workers = scrape._Workers(scrape.Ours(), self.crowd)
        self.make = fp.MetricsApp
        self.app = fp.MetricsApp()
        self.app.text()

    def teardown(self, core, each):
        self.app.close()
        self.workers.kill()
        self.home.remove()

    def time_first(self, core, each):
        app = self.make()
        app.text()
        app.close()

    def time_again(self, core, each):
        self.app.text()

    def time_openmetrics_and_gzip(self, core, each):
        self.app.respond("GET", "application/openmetrics-text", "gzip")

    def track_bytes(self, core, each):
        return len(self.app.text())

    track_bytes.unit = "bytes"
