package flytest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

var lifecycleChecks = []check{
	{Requirement{
		ID: "fetch", Group: groupLifecycle,
		Text:   "GET tells what the extension is",
		Source: sourceStatus,
		Fix:    `Answer GET {base}/extensions/{id} with the resource: {"id": "…", "status": "…"}.`,
	}, checkFetch},
	{Requirement{
		ID: "status", Group: groupLifecycle,
		Text:   "The status is one that flyctl understands",
		Source: sourceStatus,
		Fix:    `Say exactly "ready" or "error"; flyctl takes every other word for "still working", and waits for four minutes.`,
	}, checkStatus},
	{Requirement{
		ID: "ready", Group: groupLifecycle,
		Text:   "A new extension gets ready while flyctl waits",
		Source: sourceStatus,
		Fix:    `Let GET answer "ready" once the extension can be used. If yours takes longer, give the test more patience.`,
	}, checkReady},
	{Requirement{
		ID: "update", Group: groupLifecycle,
		Text:   "PATCH changes the extension",
		Source: sourceRoutes,
		Fix:    "Answer PATCH {base}/extensions/{id} with 200 and what POST answers.",
	}, checkUpdate},
	{Requirement{
		ID: "update-absent", Group: groupLifecycle,
		Text:   "What a PATCH does not mention stays as it is",
		Source: sourceParameters,
		Fix:    "Change what is there in the body, and nothing else: an absent list is not an empty one.",
	}, checkUpdateAbsent},
	{Requirement{
		ID: "update-empty-list", Group: groupLifecycle,
		Text:   "An empty list of regions removes every replica",
		Source: sourceParameters,
		Fix:    `Take "read_regions": [] for what it says.`,
	}, checkUpdateEmptyList},
	{Requirement{
		ID: "fetch-after-update", Group: groupLifecycle,
		Text:   "GET tells what PATCH changed",
		Source: sourceStatus,
		Fix:    "Answer GET from where PATCH writes to, under the same id.",
	}, checkFetchAfterUpdate},
	{Requirement{
		ID: "unknown-id", Group: groupLifecycle,
		Text:   "An id that nobody provisioned is not found",
		Source: sourceDecisions,
		Fix:    "Answer 404. A DELETE may succeed as well, since there is nothing left to do.",
	}, checkUnknownID},
	{Requirement{
		ID: "deprovision", Group: groupLifecycle,
		Text:   "DELETE removes the extension",
		Source: sourceRoutes,
		Fix:    "Answer DELETE {base}/extensions/{id} with 200 and {}.",
	}, checkDeprovision},
	{Requirement{
		ID: "deprovision-twice", Group: groupLifecycle,
		Text:   "DELETE of what is deleted is a success",
		Source: sourceIdempotence,
		Fix:    "Remember which ids were deleted, and answer 200 for them: Fly.io sends the request again after a failure.",
	}, checkDeprovisionTwice},
	{Requirement{
		ID: "fetch-after-deprovision", Group: groupLifecycle,
		Text:   "What is deleted is not found any more",
		Source: sourceDecisions,
		Fix:    "Answer 404 or 410.",
	}, checkFetchAfterDeprovision},
	{Requirement{
		ID: "late-retry", Group: groupLifecycle,
		Text:   "A late retry of POST after DELETE makes nothing new",
		Source: sourceIdempotence,
		Fix:    "Remember which ids were deleted, and answer 410 to a POST for one: Fly.io sends a request again after a failure, and no DELETE would follow for the second extension.",
	}, checkLateRetry},
}

func (s *subject) fetch(ctx context.Context, x *extension) (Exchange, error) {
	return s.call(ctx, http.MethodGet, x.path(), nil)
}

func (s *subject) update(ctx context.Context, x *extension, req flyext.UpdateRequest) (Exchange, error) {
	body, err := encodeUpdate(req)
	if err != nil {
		return Exchange{}, err
	}
	return s.callSettled(ctx, http.MethodPatch, x, body)
}

// resource fetches an extension and reads the answer.
func (s *subject) resource(ctx context.Context, x *extension) (map[string]jsontext.Value, error) {
	e, err := s.fetch(ctx, x)
	if err == nil {
		err = s.offered(ctx, e)
	}
	if err != nil {
		return nil, err
	}
	members, err := decodeObject(e.ResponseBody)
	if err != nil {
		return nil, &failure{"a JSON object", "an answer that is none: " + err.Error()}
	}
	id, ok := members["id"]
	if !ok && s.generation() == flyext.Generation1 {
		return members, nil // a flat object has no place for it
	}
	if textOf(id) != x.id {
		return nil, &failure{fmt.Sprintf(`"id": %q`, x.id), "an answer with another one, or none"}
	}
	return members, nil
}

func checkFetch(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	_, err = s.resource(ctx, x)
	return err
}

// misspelled are statuses that look like an end, and are none to flyctl.
var misspelled = []string{
	"active", "available", "complete", "completed", "created", "done", "ok", "online", "provisioned", "running", "succeeded",
	"success", "up", "crashed", "dead", "errored", "fail", "failed", "failure", "ready", "error",
}

// statusOf reads the status of a resource, or is why it cannot be understood.
func (s *subject) statusOf(members map[string]jsontext.Value) (flyext.Status, error) {
	value, ok := members["status"]
	if !ok && s.generation() == flyext.Generation1 {
		return "", &skip{"generation 1 has no status, and this answer has none"}
	}
	status := s.mapped(textOf(value))
	switch flyext.Status(status) {
	case flyext.Ready, flyext.Failed:
		return flyext.Status(status), nil
	case "":
		return "", &failure{`"status", a string`, "an answer with " + memberKind(members, "status")}
	}
	if slices.Contains(misspelled, strings.ToLower(strings.TrimSpace(status))) {
		return "", &failure{`"ready" or "error"`, fmt.Sprintf("%q, which flyctl takes for \"still working\"", status)}
	}
	return flyext.Status(status), nil
}

// mapped returns the status that Fly.io makes of a provider's own word.
func (s *subject) mapped(status string) string {
	if known, ok := s.Statuses[status]; ok {
		return string(known)
	}
	return status
}

func checkStatus(ctx context.Context, s *subject) error {
	x, err := s.standing(ctx)
	if err != nil {
		return err
	}
	members, err := s.resource(ctx, x)
	if err != nil {
		return skipFailure(err, "GET does not tell")
	}
	_, err = s.statusOf(members)
	return err
}

// skipFailure is for a check that builds on what another one tests.
func skipFailure(err error, reason string) error {
	if _, ok := err.(*failure); ok {
		return &skip{reason}
	}
	return err
}

func checkReady(ctx context.Context, s *subject) error {
	x, err := s.extension(ctx)
	if err != nil {
		return err
	}
	return s.awaitReady(ctx, x)
}

// awaitReady polls an extension as flyctl does, with the patience of this run.
func (s *subject) awaitReady(ctx context.Context, x *extension) error {
	for waited := time.Duration(0); ; waited += PollInterval {
		members, err := s.resource(ctx, x)
		if err != nil {
			return skipFailure(err, "GET does not tell")
		}
		status, err := s.statusOf(members)
		switch {
		case err != nil:
			return skipFailure(err, "its status cannot be understood")
		case status == flyext.Ready:
			return nil
		case status == flyext.Failed:
			return &failure{`"ready"`, fmt.Sprintf(`"error": %q`, textOf(members["error_message"]))}
		case waited >= s.Patience:
			return &failure{fmt.Sprintf(`"ready" within %v`, s.Patience), fmt.Sprintf("%q, still", status)}
		}
		if err := s.platform.sleep(ctx, PollInterval); err != nil {
			return err
		}
	}
}

// fullUpdate changes whatever a PATCH can. Providers may want names to be unique.
func fullUpdate(x *extension) flyext.UpdateRequest {
	return flyext.UpdateRequest{
		Name: flyext.OptionalOf(x.id + "-renamed"), PrimaryRegion: flyext.OptionalOf("fra"), ReadRegions: flyext.OptionalOf([]string{"ord", "syd"}),
	}
}

// patch sends an update, which must succeed.
func (s *subject) patch(ctx context.Context, x *extension, req flyext.UpdateRequest) error {
	e, err := s.update(ctx, x, req)
	if err == nil {
		err = s.offered(ctx, e)
	}
	x.answer = e
	return err
}

// patched returns an extension of its own, after an update.
func (s *subject) patched(ctx context.Context) (*extension, error) {
	x, err := s.extension(ctx)
	if err != nil {
		return nil, err
	}
	return x, skipFailure(s.patch(ctx, x, fullUpdate(x)), "PATCH does not work")
}

func checkUpdate(ctx context.Context, s *subject) error {
	x, err := s.extension(ctx)
	if err != nil {
		return err
	}
	return s.patch(ctx, x, fullUpdate(x))
}

func checkUpdateAbsent(ctx context.Context, s *subject) error {
	x, err := s.patched(ctx)
	if err != nil {
		return err
	}
	for _, req := range []flyext.UpdateRequest{{PrimaryRegion: flyext.OptionalOf("mad")}, {}} {
		if err := s.patch(ctx, x, req); err != nil {
			return err
		}
	}
	return s.showsRegions(ctx, x, fullUpdate(x).ReadRegions.Value)
}

func checkUpdateEmptyList(ctx context.Context, s *subject) error {
	x, err := s.patched(ctx)
	if err != nil {
		return err
	}
	req := fullUpdate(x)
	req.ReadRegions = flyext.OptionalOf([]string{})
	if err := s.patch(ctx, x, req); err != nil {
		return err
	}
	return s.showsRegions(ctx, x, []string{})
}

// showsRegions compares what GET tells of the replicas, if it does.
func (s *subject) showsRegions(ctx context.Context, x *extension, want []string) error {
	members, err := s.resource(ctx, x)
	if err != nil {
		return tolerate(skipFailure(err, ""))
	}
	value, ok := members["read_regions"]
	if !ok {
		return nil
	}
	var got []string
	if jsonv2.Unmarshal(value, &got) != nil || !slices.Equal(got, want) {
		return &failure{fmt.Sprintf(`"read_regions": %q`, want), fmt.Sprintf("%q", got)}
	}
	return nil
}

func checkFetchAfterUpdate(ctx context.Context, s *subject) error {
	order := s.order()
	x, err := s.provision(ctx, order)
	if err != nil {
		return err
	}
	before, err := s.resource(ctx, x)
	if err != nil {
		return skipFailure(err, "GET does not tell")
	}
	if err := s.patch(ctx, x, fullUpdate(x)); err != nil {
		return skipFailure(err, "PATCH does not work")
	}
	after, err := s.resource(ctx, x)
	if err != nil {
		return err
	}
	// A provider may keep a name of its own, and says so in the answers.
	told, _ := decodeObject(x.answer.ResponseBody)
	keeps := textOf(before["name"]) != order.Name || textOf(told["name"]) == order.Name
	if _, shown := after["name"]; shown && !keeps && textOf(after["name"]) == order.Name {
		return &failure{fmt.Sprintf(`"name": %q`, fullUpdate(x).Name.Value), fmt.Sprintf("%q, as before", order.Name)}
	}
	return nil
}

func checkUnknownID(ctx context.Context, s *subject) error {
	x := &extension{id: s.newID()}
	var missing *skip
	tested := 0
	for _, method := range []string{http.MethodGet, http.MethodPatch, http.MethodDelete} {
		var body []byte
		if method == http.MethodPatch {
			body = []byte(`{"primary_region":"fra"}`)
		}
		e, err := s.call(ctx, method, x.path(), body)
		if err != nil {
			return err
		}
		switch status := e.Response.StatusCode; {
		case status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed:
			missing = &skip{fmt.Sprintf("neither GET, PATCH nor DELETE is offered (%s)", e.Response.Status)}
		case status == http.StatusNotFound || status == http.StatusGone, method == http.MethodDelete && status/100 == 2:
			tested++
		default:
			return &failure{"404", describe(e)}
		}
	}
	if tested == 0 {
		return missing
	}
	return nil
}
