package service

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentation checks that the functions in docs/webhooks.md and
// docs/events.md are functions of Logjam, so that they compile.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	var chapters string
	for _, page := range []string{"webhooks.md", "events.md"} {
		text, err := os.ReadFile("../../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		chapters += string(text)
	}
	var source strings.Builder
	for _, file := range []string{"customer.go", "event.go", "webhooks.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	snippets := strings.Split(chapters, "```go\n")[1:]
	if len(snippets) != 4 {
		t.Errorf("the pages have %d code snippets, want 4", len(snippets))
	}
	for _, snippet := range snippets {
		snippet, _, _ = strings.Cut(snippet, "```")
		for function := range strings.SplitSeq(strings.TrimSpace(snippet), "\n\nfunc ") {
			if !strings.Contains(source.String(), strings.TrimPrefix(function, "func ")+"\n") {
				t.Errorf("the documentation shows a function that differs from Logjam's:\n%s", function)
			}
		}
	}
}
