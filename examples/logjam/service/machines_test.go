package service

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/servertest"
	"github.com/flyext/flyext/internal/testscale"
)

// oneAddress is the base URL that several machines share.
const oneAddress = "http://logjam.test/flyio"

// A copied request is a signed request that can be sent several times.
type copied struct {
	*http.Request
	body []byte
}

func sign(t *testing.T, fly *flytest.Platform, method, path, body string) copied {
	t.Helper()
	r, err := fly.NewRequest(t.Context(), method, path, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return copied{r, signed}
}

// send sends the request to a machine, and returns the status and the body of the
// answer.
func (c copied) send(ctx context.Context, p *process) (int, string, error) {
	r := c.Request.Clone(ctx)
	r.Body = io.NopCloser(bytes.NewReader(c.body))
	answer, err := p.fly.Client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body), err
}

// toEach sends each machine a request at the same time, and returns the statuses and
// bodies.
func toEach(t *testing.T, machines [2]*process, requests [2]copied) (statuses [2]int, bodies [2]string) {
	t.Helper()
	var ready, done sync.WaitGroup
	ready.Add(len(machines))
	for i, p := range machines {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			var err error
			if statuses[i], bodies[i], err = requests[i].send(t.Context(), p); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	return statuses, bodies
}

// inParallel calls do with 1 to n, from several goroutines.
func inParallel(n int, do func(i int)) {
	var workers sync.WaitGroup
	var next atomic.Int64
	for range 8 {
		workers.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				do(i)
			}
		})
	}
	workers.Wait()
}

// TestSeveralMachines runs two processes behind one address, on one PostgreSQL. A
// signed request that both get at the same time is admitted once. Two requests for
// one extension are both admitted, and create one extension.
//
// FLYEXT_TEST_SCALE multiplies the 50 requests. The figure in docs/scaling.md is from
// a factor of 200.
func TestSeveralMachines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, where string
		env         func(t *testing.T) []string
	}{
		{"Redis", "redis://", func(t *testing.T) []string {
			// Logjam's key prefix is fixed, so the test needs its own Redis.
			return []string{"REDIS_URL=" + servertest.Redis(t, "--appendfsync", "everysec").RedisURL()}
		}},
		{"PostgreSQL", "database", func(t *testing.T) []string { return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			db, env := newPostgreSQL(t), test.env(t)
			var machines [2]*process
			for i := range machines {
				machines[i] = startAt(t, oneAddress, db, env...)
				if !strings.HasPrefix(machines[i].replay, test.where) {
					t.Fatalf("the replay store is %s, want %s", machines[i].replay, test.where)
				}
			}
			replays := 50 * testscale.Factor(t)
			t.Run("replays", func(t *testing.T) { replaysOn(t, machines, replays) })
			t.Run("the same extension", func(t *testing.T) { sameExtensionOn(t, machines, replays/5) })
			logjam := newLogjam(t, db)
			for table, want := range map[string]int{
				"streams": replays + replays/5, "activities WHERE what = 'Created'": replays + replays/5,
			} {
				var got int
				if err := logjam.store.db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&got); err != nil || got != want {
					t.Errorf("%s: %d rows, %v, want %d", table, got, err, want)
				}
			}
		})
	}
}

// perOrganization extensions have fewer activities than an organization keeps.
const perOrganization = keptActivities / 2

// replaysOn sends each machine the same request.
func replaysOn(t *testing.T, machines [2]*process, replays int) {
	var admittedBy [2]atomic.Int64
	inParallel(replays, func(i int) {
		r := sign(t, machines[0].fly, http.MethodPost, "/extensions", fmt.Sprintf(`{"id":"r%d","organization_id":"r%d"}`, i, i/perOrganization))
		statuses, bodies := toEach(t, machines, [2]copied{r, r})
		switch statuses {
		case [2]int{http.StatusOK, http.StatusUnauthorized}:
			admittedBy[0].Add(1)
		case [2]int{http.StatusUnauthorized, http.StatusOK}:
			admittedBy[1].Add(1)
		default:
			t.Errorf("request %d: got %d %q", i, statuses, bodies)
		}
	})
	t.Logf("of %d requests sent to both machines, the first machine admitted %d and the second %d",
		replays, admittedBy[0].Load(), admittedBy[1].Load())
}

// sameExtensionOn sends the machines two requests for one extension, as Fly.io does
// when it retries.
func sameExtensionOn(t *testing.T, machines [2]*process, extensions int) {
	inParallel(extensions, func(i int) {
		order := fmt.Sprintf(`{"id":"s%d","organization_id":"s%d"}`, i, i/perOrganization)
		first := sign(t, machines[0].fly, http.MethodPost, "/extensions", order)
		second := sign(t, machines[1].fly, http.MethodPost, "/extensions", order)
		statuses, bodies := toEach(t, machines, [2]copied{first, second})
		if statuses != [2]int{http.StatusOK, http.StatusOK} || bodies[0] != bodies[1] || !strings.Contains(bodies[0], secretName) {
			t.Errorf("extension %d: got %d %q", i, statuses, bodies)
		}
	})
}

// TestRedisAway checks that Logjam starts without Redis, admits no request until
// Redis runs, and admits no replay after Redis has restarted.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	redis := servertest.Redis(t)
	redis.Kill()
	p := start(t, dbPath(t), "REDIS_URL="+strings.Replace(redis.RedisURL(), "redis://", "redis://:hunter2@", 1))
	if !strings.Contains(p.replay, redis.Addr()) || strings.Contains(p.replay, "hunter2") {
		t.Errorf("the log names the replay store as %s, want its address without the password", p.replay)
	}
	r := sign(t, p.fly, http.MethodPost, "/extensions", `{"id":"x1","organization_id":"o1"}`)
	want := func(r copied, status int, code string) {
		t.Helper()
		if got, body, err := r.send(t.Context(), p); got != status || !strings.Contains(body, code) || err != nil {
			t.Errorf("got %d %s, %v, want %d %s", got, body, err, status, code)
		}
	}
	want(r, http.StatusServiceUnavailable, flyext.CodeReplayUnavailable)
	redis.Start()
	for {
		status, body, err := r.send(t.Context(), p)
		if status == http.StatusOK {
			break
		}
		if status != http.StatusServiceUnavailable || err != nil {
			t.Fatalf("got %d %s, %v", status, body, err)
		}
		r = sign(t, p.fly, http.MethodPost, "/extensions", `{"id":"x1","organization_id":"o1"}`)
	}
	redis.Restart()
	for {
		status, _, err := r.send(t.Context(), p)
		if status == http.StatusUnauthorized {
			break
		}
		if status != http.StatusServiceUnavailable || err != nil {
			t.Fatalf("a replay got %d, %v", status, err)
		}
	}
}
