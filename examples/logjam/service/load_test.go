package service

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
	"github.com/flyext/flyext/internal/testscale"
)

// A burden is a load test: two machines of Logjam, their customers, and a webhook
// receiver that sometimes fails.
type burden struct {
	t         *testing.T
	logjam    *Logjam // on the machines' database
	fly       *flytest.WebhookReceiver
	env       []string
	db        string
	session   *http.Cookie
	machines  [2]atomic.Pointer[process]
	remaining atomic.Int64  // changes not made yet
	patience  time.Duration // how long to wait before retrying failed webhooks
	impatient bool          // take over the webhooks of killed machines at once
	client    *http.Client

	mu      sync.Mutex
	streams map[string]*customersStream
	took    []time.Duration // of the changes whose first attempt was answered
}

// A customersStream records the changes that Fly.io made to a stream.
type customersStream struct {
	deletedByFly, renamedByFly time.Time // when Logjam answered
}

// TestToldUnderLoad kills machines in turn while customers make changes. Fly.io fails
// 30 % of the webhooks and sometimes does not answer. At the end, Fly.io must have
// the database's state of every stream.
//
// FLYEXT_TEST_SCALE multiplies the changes. The figures in docs/webhooks.md are from
// a factor of 50 with PostgreSQL and of 10 with SQLite. Without a factor, the test
// takes over the webhooks of a killed machine itself. The other machine would take a
// minute.
func TestToldUnderLoad(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		db               func(t *testing.T) string
		changes, streams int // multiplied by the factor
		maxStreams       int // limit for streams
		perKill          int // changes between two kills
	}{
		{"PostgreSQL", newPostgreSQL, 200, 24, 200, 300},
		{"SQLite", dbPath, 100, 16, 50, 125},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			factor := testscale.Factor(t)
			changes := test.changes * factor
			b := newBurden(t, test.db(t))
			b.patience, b.impatient = time.Minute, factor == 1
			if b.impatient {
				b.patience = 5 * time.Second
			}
			began := time.Now()
			kills := max(3, changes/test.perKill)
			b.load(changes, min(test.streams*factor, test.maxStreams), kills)
			loaded := time.Since(began)
			b.wait()
			stats := b.fly.Stats()
			slices.Sort(b.took)
			t.Logf("%d changes of %d streams in %v, with SIGKILL %d times; the webhooks ended %v later: %d sent, %d accepted, %d of these duplicates; "+
				"half of the changes were answered within %v, 99 %% within %v",
				changes, len(b.streams), loaded.Round(time.Second), kills, (time.Since(began) - loaded).Round(time.Second),
				stats.Received, stats.Accepted, stats.Repeated,
				b.took[len(b.took)/2].Round(time.Millisecond), b.took[len(b.took)*99/100].Round(time.Millisecond))
			b.check()
			b.stop()
		})
	}
}

func newBurden(t *testing.T, db string) *burden {
	t.Helper()
	b := &burden{
		t: t, logjam: newLogjam(t, db), db: db, streams: map[string]*customersStream{},
		fly:    &flytest.WebhookReceiver{Secret: webhookSecret},
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	b.fly.SetFault(nowAndThen)
	server := httptest.NewServer(b.fly)
	t.Cleanup(server.Close)
	t.Cleanup(b.client.CloseIdleConnections)
	b.env = []string{
		"FLYIO_CLIENT_ID=logjam", "FLYIO_CLIENT_SECRET=client-secret",
		"FLYIO_WEBHOOK_SECRET=" + webhookSecret, "FLYIO_WEBHOOK_URL=" + server.URL + "/hook",
	}
	err := b.logjam.store.inTx(t.Context(), func(tx *sql.Tx) error {
		err := saveOwner(t.Context(), tx, owner{organizationID: "org", userID: nathan})
		if err != nil {
			return err
		}
		id, err := startSession(t.Context(), tx, *nathanOf("org"), time.Now())
		b.session = sessionCookies{key: b.logjam.store.sessionKey}.write(id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// nowAndThen makes Fly.io fail 15 % of the webhooks before it reads them and 15 %
// after. It never answers 0.3 %.
func nowAndThen(sound http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := rand.N(1000); {
		case n < 3:
			<-r.Context().Done()
		case n < 150:
			w.WriteHeader([]int{500, 502, 503, 504}[n%4])
		case n < 300:
			flytest.LostAnswer()(sound).ServeHTTP(w, r)
		default:
			sound.ServeHTTP(w, r)
		}
	})
}

// load makes changes and kills the machines in turn. The kills are evenly spread over
// the changes, and changes follow the last kill.
func (b *burden) load(changes, streams, kills int) {
	b.t.Helper()
	const customers = 8
	for i := range b.machines {
		b.machines[i].Store(start(b.t, b.db, b.env...))
	}
	b.remaining.Store(int64(changes))
	var done sync.WaitGroup
	for customer := range customers {
		done.Go(func() { b.customer(customer, streams/customers) })
	}
	for kill := range kills {
		for b.remaining.Load() > int64(changes-changes*(kill+1)/(kills+1)) && !b.t.Failed() {
			time.Sleep(time.Millisecond)
		}
		machine := &b.machines[kill%len(b.machines)]
		machine.Load().Process.Kill()
		if err := machine.Load().wait(); err == nil || machine.Load().ProcessState.Exited() {
			b.t.Errorf("the process exited before it was killed: %v\n%s", err, &machine.Load().stderr)
		}
		machine.Store(start(b.t, b.db, b.env...))
	}
	done.Wait()
}

// customer changes the streams of one customer, one after the other. It creates a new
// stream for each one that is deleted.
func (b *burden) customer(number, streams int) {
	var own []string
	made := 0
	for b.remaining.Add(-1) >= 0 && !b.t.Failed() {
		if len(own) < streams {
			made++
			own = append(own, fmt.Sprintf("%d-%d", number, made))
			b.provision(own[len(own)-1])
			continue
		}
		i := rand.N(len(own))
		id := own[i]
		switch n := rand.N(1000); {
		case n < 10:
			b.post(id, "delete", http.StatusNotFound) // 404 if an earlier attempt got no answer
			own = append(own[:i], own[i+1:]...)
		case n < 15:
			b.deprovision(id)
			own = append(own[:i], own[i+1:]...)
		case n < 50:
			b.rename(id, fmt.Sprint("name ", n))
		case n%2 == 0:
			b.post(id, "sleep", 0)
		default:
			b.post(id, "wake", 0)
		}
	}
}

// again calls do with a random machine until it succeeds.
func (b *burden) again(what string, do func(p *process) error) {
	var err error
	for attempt := range 200 {
		began := time.Now()
		if err = do(b.machines[rand.N(len(b.machines))].Load()); err == nil {
			if attempt == 0 {
				b.mu.Lock()
				b.took = append(b.took, time.Since(began))
				b.mu.Unlock()
			}
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.t.Errorf("%s: %v", what, err)
}

// post presses a button of the dashboard. It accepts orStatus as success too.
func (b *burden) post(id, action string, orStatus int) {
	b.again(action+" "+id, func(p *process) error {
		target := strings.TrimSuffix(p.fly.BaseURL, "/flyio") + "/streams/" + id + "/" + action
		r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, target, nil)
		if err != nil {
			return err
		}
		r.AddCookie(b.session)
		answer, err := b.client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusSeeOther && answer.StatusCode != orStatus {
			return errors.New(answer.Status)
		}
		return nil
	})
}

func (b *burden) provision(id string) {
	b.mu.Lock()
	b.streams[id] = &customersStream{}
	b.mu.Unlock()
	b.again("provision "+id, func(p *process) error {
		_, err := p.fly.Provision(b.t.Context(), flyext.ProvisionRequest{ID: id, OrganizationID: "org", UserID: nathan})
		return err
	})
}

func (b *burden) deprovision(id string) {
	b.again("deprovision "+id, func(p *process) error { return p.fly.Deprovision(b.t.Context(), id) })
	b.streamOf(id).deletedByFly = time.Now()
}

func (b *burden) rename(id, name string) {
	b.again("rename "+id, func(p *process) error {
		_, err := p.fly.Update(b.t.Context(), id, flyext.UpdateRequest{Name: flyext.OptionalOf(name)})
		return err
	})
	b.streamOf(id).renamedByFly = time.Now()
}

func (b *burden) streamOf(id string) *customersStream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.streams[id]
}

// wait returns when all webhook jobs have ended. After b.patience it retries the
// failed webhooks at once, as an operator can.
func (b *burden) wait() {
	b.t.Helper()
	began := time.Now()
	if b.impatient {
		b.takeOver()
	}
	for b.count("state NOT IN ('completed', 'cancelled', 'discarded')") > 0 {
		time.Sleep(500 * time.Millisecond)
		waited := time.Since(began)
		if waited < b.patience {
			continue
		}
		if _, err := b.untold("retry"); err != nil {
			b.t.Error(err)
		}
		if waited > 4*time.Minute {
			text, err := b.untold("list")
			b.t.Fatalf("jobs are left after %v: %v\n%s", waited, err, text)
		}
	}
}

// takeOver makes the jobs of killed machines available at once. The queue of another
// machine would do so after a minute. If a living machine is working one of them,
// Fly.io receives a duplicate, which the protocol allows.
func (b *burden) takeOver() {
	b.t.Helper()
	_, err := b.logjam.store.db.ExecContext(b.t.Context(), `UPDATE river_job SET state = 'available' WHERE state = 'running'`)
	if err != nil {
		b.t.Fatal(err)
	}
}

// untold runs the program with -webhooks, as an operator does.
func (b *burden) untold(action string) (string, error) {
	var out strings.Builder
	c := databaseConfig(b.db)
	c.webhookSecret, c.webhookAction = webhookSecret, action
	err := untold(b.t.Context(), c, &out, testLog(b.t))
	return out.String(), err
}

// stop sends the machines SIGTERM, as a deployment does.
func (b *burden) stop() {
	b.t.Helper()
	for i := range b.machines {
		p := b.machines[i].Load()
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			b.t.Error(err)
		}
		if err := p.wait(); err != nil {
			b.t.Errorf("after SIGTERM a machine exited with %v", err)
		}
		for line := range strings.Lines(p.stderr.String()) {
			if strings.Contains(line, "level=ERROR") {
				b.t.Errorf("a machine that was not killed logged an error: %s", line)
			}
		}
	}
}

// count returns the number of jobs for which the SQL condition is true.
func (b *burden) count(where string) (n int) {
	b.t.Helper()
	err := b.logjam.store.db.QueryRowContext(b.t.Context(), `SELECT count(*) FROM river_job WHERE `+where).Scan(&n)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// check compares Fly.io's state of every stream with the database.
func (b *burden) check() {
	b.t.Helper()
	if lost := b.count("state IN ('cancelled', 'discarded')"); lost > 0 {
		b.t.Errorf("%d webhooks were given up", lost)
	}
	stats := b.fly.Stats()
	if stats.Refused > 0 {
		b.t.Errorf("Fly.io refused %d webhooks as invalid", stats.Refused)
	}
	known := 0
	for id, customers := range b.streams {
		x, err := b.logjam.Fetch(b.t.Context(), id)
		deleted := errors.Is(err, errDeleted)
		if err != nil && !deleted {
			b.t.Fatal(err)
		}
		hook, ok := b.fly.Resource(id)
		if ok {
			known++
		}
		switch {
		case deleted && !customers.deletedByFly.IsZero() && (!ok || hook.Received.Before(customers.deletedByFly)):
			// Fly.io deleted it, and received no webhook about it since.
		case deleted:
			if !hook.Deleted() {
				b.t.Errorf("stream %s is deleted, but Fly.io has %s, %+v", id, hook.Action, hook.Resource)
			}
		case !ok && x.Status == flyext.Ready: // as Fly.io created it
		case hook.Deleted() || hook.Resource.Status != x.Status:
			b.t.Errorf("stream %s is %s, but Fly.io has %s, %+v", id, x.Status, hook.Action, hook.Resource)
		case hook.Received.After(customers.renamedByFly) && hook.Resource.Name != x.Name:
			b.t.Errorf("stream %s has the name %q, but a later webhook has %q", id, x.Name, hook.Resource.Name)
		}
	}
	if known < len(b.streams)/2 {
		b.t.Errorf("Fly.io received webhooks for %d of %d streams, want at least half", known, len(b.streams))
	}
}
