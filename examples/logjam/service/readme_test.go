package service

import (
	"os"
	"strings"
	"testing"
)

// The README shows functions of Logjam's, and so they compile.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, chapters, ok := strings.Cut(string(readme), "\n## Telling Fly.io what changed\n")
	chapters, _, ok2 := strings.Cut(chapters, "\n## Testing your provider\n")
	if !ok || !ok2 {
		t.Fatal("the README has no such chapters")
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
		t.Errorf("the chapters show %d pieces of code", len(snippets))
	}
	for _, snippet := range snippets {
		snippet, _, _ = strings.Cut(snippet, "```")
		for function := range strings.SplitSeq(strings.TrimSpace(snippet), "\n\nfunc ") {
			if !strings.Contains(source.String(), strings.TrimPrefix(function, "func ")+"\n") {
				t.Errorf("the README shows what Logjam does not have:\n%s", function)
			}
		}
	}
}
