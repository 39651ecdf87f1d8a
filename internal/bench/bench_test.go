package bench

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"

	"github.com/flyext/flyext"
)

// held stands for the live data of a running service. Garbage collection costs less
// per allocation in a process with more live data, and this gives all benchmarks
// the same amount.
var held = make([]byte, 16<<20)

func TestMain(m *testing.M) {
	touch(2 * len(held))
	code := m.Run()
	runtime.KeepAlive(held)
	os.Exit(code)
}

// touch allocates and frees the given number of bytes, so that benchmarks use
// memory that the kernel has already provided, as in a running service. The first
// use of a page takes 12 µs on some virtual machines, which was longer than the
// work in some rows.
func touch(bytes int) {
	const piece = 8 << 10
	pieces := make([][]byte, bytes/piece)
	for i := range pieces {
		pieces[i] = make([]byte, piece)
		pieces[i][0], pieces[i][piece/2] = 1, 1
	}
	runtime.KeepAlive(pieces)
	pieces = nil
	runtime.GC()
}

// Each row of the table is a benchmark with the sub-benchmarks "floor" and "flyext",
// and those of other libraries that do the same work.

func BenchmarkRFC9421(b *testing.B) { verify(b, rfc9421Verifiers, provisionSize) }
func BenchmarkCavage(b *testing.B)  { verify(b, cavageVerifiers, provisionSize) }
func BenchmarkXCheck(b *testing.B)  { verify(b, xVerifiers, provisionSize) }

// BenchmarkXAdmit measures Authenticator.Check: reading, MAC, time, URL and nonce.
func BenchmarkXAdmit(b *testing.B) {
	b.Run("floor", func(b *testing.B) { each(b, newBatch(provisionSize), newXFloor().check) })
	b.Run("flyext", func(b *testing.B) { admit(b, newBatch(provisionSize), secret) })
}

func admit(b *testing.B, requests *batch, secrets ...string) {
	a := newAuthenticator(b, requests.clock, secrets...)
	each(b, requests, func(r *http.Request) bool { return a.Check(r) == nil })
}

func BenchmarkHandler(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		each(b, newBatch(provisionSize), answers(newBareHandler(), http.StatusOK))
	})
	b.Run("flyext", func(b *testing.B) { provision(b, newBatch(provisionSize)) })
	b.Run("brokerapi", func(b *testing.B) {
		r, body := brokerRequest(secret)
		again(b, r, body, answers(newBroker(), http.StatusCreated))
	})
}

func provision(b *testing.B, requests *batch) {
	each(b, requests, answers(newProvider(b, requests.clock), http.StatusOK))
}

func BenchmarkRefuseUnsigned(b *testing.B) { refuse(b, "") }
func BenchmarkRefuseForged(b *testing.B)   { refuse(b, forgedSignature) }

func refuse(b *testing.B, signature string) {
	body := provisionBody(provisionSize)
	b.Run("floor", func(b *testing.B) {
		again(b, xRequest(body, signature), body, answers(newBareHandler(), http.StatusUnauthorized))
	})
	b.Run("flyext", func(b *testing.B) {
		again(b, xRequest(body, signature), body, answers(newProvider(b, newBatch(0).clock), http.StatusUnauthorized))
	})
}

// again repeats the same request.
func again(b *testing.B, r *http.Request, body []byte, do func(*http.Request) bool) {
	reader := bytes.NewReader(nil)
	content := io.NopCloser(reader)
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = content
		if !do(r) {
			b.Fatal("unexpected result")
		}
	}
}

// each makes a new request each time. Signing them is not timed.
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
			b.Fatal("unexpected result")
		}
		i++
	}
}

// answers returns a function that reports whether the handler responds with a
// status.
func answers(h http.Handler, status int) func(*http.Request) bool {
	return func(r *http.Request) bool {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code == status
	}
}

// BenchmarkObserve measures the whole handler with and without Config.Observe, one
// right after the other.
func BenchmarkObserve(b *testing.B) {
	b.Run("without", func(b *testing.B) { provision(b, newBatch(provisionSize)) })
	b.Run("with", func(b *testing.B) {
		requests, seen := newBatch(provisionSize), 0
		p := newProvider(b, requests.clock, func(c *flyext.Config) {
			c.Observe = func(context.Context, flyext.Outcome) { seen++ }
		})
		each(b, requests, answers(p, http.StatusOK))
		if seen != b.N {
			b.Errorf("observed %d requests of %d", seen, b.N)
		}
	})
	b.Run("floor", func(b *testing.B) {
		each(b, newBatch(provisionSize), answers(newBareHandler(), http.StatusOK))
	})
}
