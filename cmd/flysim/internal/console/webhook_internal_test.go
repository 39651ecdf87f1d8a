package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext/flytest"
)

// newConsole returns a console with the signing secret "s" and the webhook secret "w".
func newConsole(t *testing.T) *Console {
	t.Helper()
	c, err := New(Config{
		BaseURL: "http://logjam.test/flyio", Format: flytest.FormatXSignature, Credentials: flytest.Credentials{SigningSecret: "s"},
		WebhookSecret: "w", URL: "http://localhost:4000",
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A provider may have very many resources, and a console runs for days, so the
// receiver forgets the oldest ones.
func TestReceiverIsBounded(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	for i := range maxRemembered + 10 {
		body := fmt.Sprintf(`{"timestamp":%d,"action":"resource.updated","resource":{"id":"x%d"}}`, time.Now().Unix(), i)
		h := hmac.New(sha256.New, []byte("w"))
		h.Write([]byte(body))
		r := httptest.NewRequest(http.MethodPost, "http://localhost:4000/webhooks", strings.NewReader(body))
		r.Header.Set("X-Signature", hex.EncodeToString(h.Sum(nil)))
		w := httptest.NewRecorder()
		if c.ServeHTTP(w, r); w.Code != http.StatusOK {
			t.Fatalf("webhook %d: %d %s", i, w.Code, w.Body)
		}
	}
	if n := len(c.receiver.Resources()); n != 10 {
		t.Errorf("%d resources are remembered", n)
	}
}
