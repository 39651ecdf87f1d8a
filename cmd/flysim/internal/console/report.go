package console

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"

	"github.com/flyext/flyext/flytest"
)

// ReportPath is the endpoint to which other commands of flysim report their
// requests.
const ReportPath = "/requests/reported"

const maxReport = 8 << 20 // bytes

// Report returns an exchange as JSON for [ReportPath]. It contains the secrets of
// the exchange.
func Report(e flytest.Exchange) ([]byte, error) {
	return json.Marshal(masker{keep: true}.wire(newWire(e)))
}

// serveReport adds a request of another program to the feed.
func (c *Console) serveReport(w http.ResponseWriter, r *http.Request) {
	setSafeHeaders(w.Header())
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "Reports are JSON.", http.StatusUnsupportedMediaType)
		return
	}
	var reported savedWire
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxReport)).Decode(&reported); err != nil || !strings.HasPrefix(reported.Target, "/") {
		http.Error(w, "The report is malformed.", http.StatusBadRequest)
		return
	}
	seen := (&savedRecord{Wire: &reported}).record().wire
	sent, err := http.NewRequestWithContext(r.Context(), seen.method, seen.url, nil)
	if err != nil {
		http.Error(w, "The report is malformed.", http.StatusBadRequest)
		return
	}
	flytest.SetBody(sent, seen.requestBody)
	seen.incoming = false
	o := outcome{seen.status/100 == 2, "Command line: " + statusWords(seen), ""}
	c.mu.Lock()
	defer c.mu.Unlock()
	what, x := c.classify(sent)
	step := c.newRecord(what)
	if x != nil {
		c.attach(step, x)
	}
	// flysim check sends requests that a provider must refuse.
	step.neutral = seen.status/100 == 3 || seen.status/100 == 4
	c.keep(step, seen, o)
	c.save(step, nil)
	c.changed(string(what) + ": " + o.headline)
}
