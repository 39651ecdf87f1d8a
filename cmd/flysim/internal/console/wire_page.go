package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type recordView struct {
	N                     int
	What                  action
	Times                 int
	At                    time.Time
	Class, Sign           string
	Headline, Explanation string
	Wire                  *wireView
	Forgotten             bool
	Open                  bool // its exchange is shown

	// On the page of all webhooks: the extension of the webhook.
	About               int // the number of the extension, or 0
	AboutTitle, AboutID string
}

func newRecordView(r *record) recordView {
	v := recordView{
		N: r.n, What: r.what, Times: r.times, At: r.at,
		Headline: r.outcome.headline, Explanation: r.outcome.explanation, Forgotten: r.forgotten,
	}
	v.Class, v.Sign = r.look()
	if r.wire != nil {
		v.Wire = newWireView(r.wire)
	}
	return v
}

// look returns the class and the sign of a record's outcome.
func (r *record) look() (class, sign string) {
	switch {
	case r.neutral:
		return "said", ""
	case !r.outcome.ok:
		return "bad", "✕"
	case strings.HasPrefix(r.outcome.headline, "Not ready"):
		return "wait", "…"
	}
	return "good", "✓"
}

// A wireView is an exchange on a page.
type wireView struct {
	Method, Path, Target   string
	Request                []headerLine
	RequestBody            wireBody
	Status                 int
	StatusText, StatusLine string
	Answer                 []headerLine
	AnswerBody             wireBody
	Base                   string
	BaseLength             int
	Took                   string
	Slow                   bool
	Incoming               bool
	Answered               bool
	Masked                 bool
	N                      int
}

// A wireBody is a body and the link to its bytes.
type wireBody struct {
	bodyView
	ID, Link string
}

// budget is the time that Fly.io waits for an answer.
const budget = 5 * time.Second

func newWireView(w *wire) *wireView {
	path, _, _ := strings.Cut(w.target, "?")
	body := func(part string, bytes []byte) wireBody {
		return wireBody{newBodyView(bytes), fmt.Sprintf("r%d-%s", w.n, part), fmt.Sprintf("/wire/%d/%s", w.n, part)}
	}
	base := w.base
	if len(base) > maxShown {
		base = base[:maxShown] + "…"
	}
	lines := func(lines []headerLine) []headerLine {
		shown := make([]headerLine, len(lines))
		for i, line := range lines {
			shown[i] = headerLine{printable(line.Name), printable(line.Value)}
		}
		return shown
	}
	return &wireView{
		Method: w.method, Path: path, Target: w.target, Request: lines(w.request), RequestBody: body("request", w.requestBody),
		Status: w.status, StatusText: statusWords(w), StatusLine: printable(w.statusText),
		Answer: lines(w.answer), AnswerBody: body("answer", w.answerBody),
		Base: printable(base), BaseLength: len(w.base), Took: took(w.duration), Slow: w.duration > budget && !w.incoming, Incoming: w.incoming,
		Answered: w.answered(), Masked: w.masked, N: w.n,
	}
}

func statusWords(w *wire) string {
	if !w.answered() {
		return "no answer"
	}
	return clip(strings.TrimSpace(fmt.Sprint(w.status, " ", http.StatusText(w.status))), 60)
}

// macOf returns the MAC of an exchange's signature base, or nil if it has no
// base. The console is locked.
func (c *Console) macOf(w *wire) *macView {
	secret, name := c.signingSecret, "signing secret"
	if w.incoming {
		secret, name = c.webhookSecret, "webhook secret"
	}
	if w.base == "" || secret == "" {
		return nil
	}
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(w.base))
	sum := h.Sum(nil)
	return &macView{hex.EncodeToString(sum), base64.StdEncoding.EncodeToString(sum), name}
}

func took(d time.Duration) string {
	if d == 0 {
		return ""
	}
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(d.Milliseconds(), 1))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
