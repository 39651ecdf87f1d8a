package browsertest

import "time"

// SetPatience is for tests of what never happens.
func (b *Tab) SetPatience(d time.Duration) { b.patience = d }
