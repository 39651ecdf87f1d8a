package console

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

func requestPath(n int) string { return requestsPath + "/" + strconv.Itoa(n) }

// serveCurl answers with a command that sends a request again. The signature is
// fresh, so the command works once, within the next minutes.
func (c *Console) serveCurl(w http.ResponseWriter, r *http.Request, old *record) {
	sent := c.wireOf(old)
	if sent == nil || sent.incoming {
		c.failPage(w, http.StatusNotFound, "There is no command", "The bytes of this request are no longer kept, or the console received it.")
		return
	}
	d := c.draftOf(sent)
	signed, err := c.sign(r.Context(), d)
	if err != nil {
		c.failPage(w, http.StatusConflict, "This request cannot be signed", sentence(trimPrefix(err)))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, curlCommand(signed))
}

// curlCommand returns a POSIX shell command that sends the exact bytes of the
// request.
func curlCommand(r *http.Request) string {
	body := bodyBytes(r)
	lines := []string{"curl --include --request " + shellQuote(r.Method)}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			lines = append(lines, "--header "+shellQuote(name+": "+value))
		}
	}
	if len(body) > 0 && r.Header.Get("Content-Type") == "" {
		lines = append(lines, "--header 'Content-Type:'") // curl would add its own
	}
	pipe := ""
	switch text := string(body); {
	case text == "":
	case isPlain(text) && !strings.HasPrefix(text, "@"):
		lines = append(lines, "--data-binary "+shellQuote(text))
	default:
		pipe = "printf " + shellQuote(octal(body)) + " | "
		lines = append(lines, "--data-binary @-")
	}
	lines = append(lines, shellQuote(r.URL.String()))
	return pipe + strings.Join(lines, " \\\n  ")
}

// bodyBytes returns the body of a request whose body is in memory.
func bodyBytes(r *http.Request) []byte {
	if r.GetBody == nil {
		return nil
	}
	copied, err := r.GetBody()
	if err != nil {
		return nil
	}
	defer copied.Close()
	body, _ := io.ReadAll(copied) // it is in memory
	return body
}

// shellQuote quotes a text for a POSIX shell.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// isPlain reports whether a text can be pasted into a terminal.
func isPlain(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
	})
}

// octal returns a printf(1) format for exactly these bytes.
func octal(body []byte) string {
	var b strings.Builder
	for _, c := range body {
		fmt.Fprintf(&b, `\%03o`, c)
	}
	return b.String()
}
