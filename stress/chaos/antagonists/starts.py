"""Sessions that are started and stopped by many threads at once."""

import time

from antagonists import Antagonist, busy, together


class Starts(Antagonist):
    def round(self, dice):
        pauses = [dice.random() / 50 for _ in range(4)]

        def start_and_stop(pause):
            self.sessions.start()
            busy(500)
            time.sleep(pause)
            self.sessions.stop()

        together([lambda pause=pause: start_and_stop(pause) for pause in pauses])
        self.sessions.start()
