package browsertest

import (
	"testing"
	"time"
)

// Need skips a test on a machine without Chromium.
func Need(t *testing.T) { t.Helper(); start(t) }

// SetPatience is for tests of what never happens.
func (b *Tab) SetPatience(d time.Duration) { b.patience = d }
