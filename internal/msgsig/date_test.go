package msgsig

import (
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	t.Parallel()
	want := time.Date(2026, time.March, 5, 9, 8, 7, 0, time.UTC)
	for text, ok := range map[string]bool{
		"Thu, 05 Mar 2026 09:08:07 GMT":    true, // RFC 9110
		"Thursday, 05-Mar-26 09:08:07 GMT": true, // its obsolete forms
		"Thu Mar  5 09:08:07 2026":         true,
		"Thu, 05 Mar 2026 09:08:07 -0000":  true, // Ruby
		"Thu, 5 Mar 2026 09:08:07 GMT":     true, // Java
		"Thu, 5 Mar 2026 11:08:07 +0200":   true, // Rust
		"Thu, 05 Mar 2026 09:08:07 UTC":    true, // Go's RFC1123
		" Thu, 05 Mar 2026 09:08:07 GMT\t": true,
		"Thu, 05 Mar 2026 09:08:07 PST":    false, // an unknown zone
		"Thu, 05 Mar 2026 09:08:07":        false,
		"2026-03-05T09:08:07Z":             false,
		"Thu, 05 Mar 2026 09:08:07 GMT, x": false,
		"Thu, 32 Mar 2026 09:08:07 GMT":    false,
		"":                                 false,
	} {
		got, err := parseDate([]string{text})
		if (err == nil) != ok || ok && !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want success: %t", text, got, err, ok)
		}
	}
	one := "Thu, 05 Mar 2026 09:08:07 GMT"
	for _, lines := range [][]string{nil, {one, one}} {
		if got, err := parseDate(lines); err == nil {
			t.Errorf("%q: got %v, want an error", lines, got)
		}
	}
}
