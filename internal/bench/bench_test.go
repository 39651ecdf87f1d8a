package bench

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/flyext/flyext"
)

// Each row of the table is a benchmark of two or more: "floor", "flyext", and
// whoever else does the same.

func verifyBench(b *testing.B, v flyext.Verifier, h http.Header, body []byte) {
	base, ctx := parsedBaseURL(), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(ctx, message(h, body, base)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRFC9421(b *testing.B) {
	body := provisionBody(provisionSize)
	h := rfc9421Header(body, false)
	b.Run("floor", func(b *testing.B) {
		f := newVerifierFloor()
		b.ReportAllocs()
		for b.Loop() {
			if !f.rfc9421(http.MethodPost, target, h, body, epoch) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("flyext", func(b *testing.B) { verifyBench(b, flyext.MessageSignature(key), h, body) })
}

func BenchmarkCavage(b *testing.B) {
	body := provisionBody(provisionSize)
	h := cavageHeader(body)
	b.Run("floor", func(b *testing.B) {
		f := newVerifierFloor()
		b.ReportAllocs()
		for b.Loop() {
			if !f.cavage(http.MethodPost, target, h, body, epoch) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("flyext", func(b *testing.B) { verifyBench(b, flyext.MessageSignature(key), h, body) })
}

// BenchmarkXCheck has the body's MAC wrong for both; see newXCheck.
func BenchmarkXCheck(b *testing.B) {
	body := provisionBody(provisionSize)
	b.Run("floor", func(b *testing.B) {
		f := newXFloor()
		again(b, body, forgedSignature, func(r *http.Request) bool { return !f.check(r) })
	})
	b.Run("flyext", func(b *testing.B) { again(b, body, forgedSignature, newXCheck(b)) })
}

// BenchmarkXAdmit is all of Authenticator.Check: reading, MAC, time, URL, nonce.
func BenchmarkXAdmit(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		f, requests := newXFloor(), newBatch(provisionSize)
		each(b, requests, f.check)
	})
	b.Run("flyext", func(b *testing.B) {
		requests := newBatch(provisionSize)
		a := newAuthenticator(b, requests.clock, secret)
		each(b, requests, func(r *http.Request) bool { return a.Check(r) == nil })
	})
}

// again does the same request again and again.
func again(b *testing.B, body []byte, signature string, do func(*http.Request) bool) {
	reader := bytes.NewReader(body)
	content := io.NopCloser(reader)
	r := xRequest(body, signature)
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = content
		if !do(r) {
			b.Fatal("not what was expected")
		}
	}
}

// each does a request that was never there before each time. They are made
// while the timer stands still.
func each(b *testing.B, requests *batch, do func(*http.Request) bool) {
	i := batchSize
	b.ReportAllocs()
	for b.Loop() {
		if i == batchSize {
			b.StopTimer()
			requests.sign()
			i = 0
			b.StartTimer()
		}
		if !do(&requests.requests[i]) {
			b.Fatal("not what was expected")
		}
		i++
	}
}

// answers reports whether a handler answers with a status.
func answers(h http.Handler, status int) func(*http.Request) bool {
	return func(r *http.Request) bool {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code == status
	}
}

func BenchmarkHandler(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		each(b, newBatch(provisionSize), answers(newBareHandler(), http.StatusOK))
	})
	b.Run("flyext", func(b *testing.B) {
		requests := newBatch(provisionSize)
		each(b, requests, answers(newProvider(b, requests.clock), http.StatusOK))
	})
}

func BenchmarkRefuseUnsigned(b *testing.B) { refuse(b, "") }
func BenchmarkRefuseForged(b *testing.B)   { refuse(b, forgedSignature) }

func refuse(b *testing.B, signature string) {
	body := provisionBody(provisionSize)
	b.Run("floor", func(b *testing.B) {
		again(b, body, signature, answers(newBareHandler(), http.StatusUnauthorized))
	})
	b.Run("flyext", func(b *testing.B) {
		again(b, body, signature, answers(newProvider(b, newBatch(0).clock), http.StatusUnauthorized))
	})
}
