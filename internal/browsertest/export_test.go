package browsertest

import (
	"testing"
	"time"
)

// Need skips a test if Chromium is not installed.
func Need(t *testing.T) { t.Helper(); start(t) }

// SetPatience shortens the timeout of steps that are expected to fail.
func (b *Tab) SetPatience(d time.Duration) { b.patience = d }
