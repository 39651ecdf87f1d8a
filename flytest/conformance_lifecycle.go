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
		Text:   "GET returns the extension",
		Source: sourceStatus,
		Fix:    `Answer GET {base}/extensions/{id} with the resource: {"id": "…", "status": "…"}.`,
	}, checkFetch},
	{Requirement{
		ID: "status", Group: groupLifecycle,
		Text:   "The status is one that flyctl understands",
		Source: sourceStatus,
		Fix:    `Answer exactly "ready" or "error". For flyctl, every other word means "still working", and it waits for up to four minutes.`,
	}, checkStatus},
	{Requirement{
		ID: "ready", Group: groupLifecycle,
		Text:   "A new extension becomes ready while flyctl waits",
		Source: sourceStatus,
		Fix:    `Answer GET with the status "ready" once the extension can be used. If your extensions take longer, increase the patience of the test.`,
	}, checkReady},
	{Requirement{
		ID: "update", Group: groupLifecycle,
		Text:   "PATCH changes the extension",
		Source: sourceRoutes,
		Fix:    "Answer PATCH {base}/extensions/{id} with 200 and the same object as POST.",
	}, checkUpdate},
	{Requirement{
		ID: "update-absent", Group: groupLifecycle,
		Text:   "PATCH leaves absent fields unchanged",
		Source: sourceParameters,
		Fix:    "Change only the fields in the body. An absent list is not an empty list.",
	}, checkUpdateAbsent},
	{Requirement{
		ID: "update-empty-list", Group: groupLifecycle,
		Text:   "An empty list of regions removes every replica",
		Source: sourceParameters,
		Fix:    `Remove all read regions if the body has "read_regions": [].`,
	}, checkUpdateEmptyList},
	{Requirement{
		ID: "fetch-after-update", Group: groupLifecycle,
		Text:   "GET returns the fields that PATCH changed",
		Source: sourceStatus,
		Fix:    "Read the extension for GET from the record that PATCH writes, under the same id.",
	}, checkFetchAfterUpdate},
	{Requirement{
		ID: "unknown-id", Group: groupLifecycle,
		Text:   "An unknown id is not found",
		Source: sourceDecisions,
		Fix:    "Answer 404. You may also answer a DELETE with success, because the extension does not exist.",
	}, checkUnknownID},
	{Requirement{
		ID: "deprovision", Group: groupLifecycle,
		Text:   "DELETE removes the extension",
		Source: sourceRoutes,
		Fix:    "Answer DELETE {base}/extensions/{id} with 200 and {}.",
	}, checkDeprovision},
	{Requirement{
		ID: "deprovision-twice", Group: groupLifecycle,
		Text:   "A second DELETE of an extension succeeds",
		Source: sourceIdempotence,
		Fix:    "Remember the deleted ids, and answer a DELETE for one with 200: Fly.io sends the request again after a failure.",
	}, checkDeprovisionTwice},
	{Requirement{
		ID: "fetch-after-deprovision", Group: groupLifecycle,
		Text:   "A deleted extension is no longer found",
		Source: sourceDecisions,
		Fix:    "Answer GET for a deleted extension with 404 or 410.",
	}, checkFetchAfterDeprovision},
	{Requirement{
		ID: "late-retry", Group: groupLifecycle,
		Text:   "A late retry of POST after DELETE creates nothing",
		Source: sourceIdempotence,
		Fix:    "Remember the deleted ids, and answer a POST for one with 410. Fly.io sends a request again after a failure, and never sends a DELETE for the second extension.",
	}, checkLateRetry},
}

// fetch sends a GET for an extension.
func (s *subject) fetch(ctx context.Context, x *extension) (Exchange, error) {
	return s.call(ctx, http.MethodGet, x.path(), nil)
}

// update sends a PATCH for an extension.
func (s *subject) update(ctx context.Context, x *extension, req flyext.UpdateRequest) (Exchange, error) {
	body, err := encodeUpdate(req)
	if err != nil {
		return Exchange{}, err
	}
	return s.callSettled(ctx, http.MethodPatch, x, body)
}

// resource fetches an extension and returns the members of the answer.
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
		return nil, notObject(err)
	}
	id, ok := members["id"]
	if !ok && s.generation() == flyext.Generation1 {
		return members, nil // a flat object may lack an id
	}
	if textOf(id) != x.id {
		return nil, &failure{fmt.Sprintf(`"id": %q`, x.id), "an answer with another id or without one"}
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

// misspelled are words that suggest a final status, but that flyctl does not know. A
// word also counts as misspelled if its case or the space around it is wrong.
var misspelled = []string{
	"active", "available", "complete", "completed", "created", "done", "ok", "online", "provisioned", "running", "succeeded",
	"success", "up", "crashed", "dead", "errored", "fail", "failed", "failure", "ready", "error",
}

// statusOf returns the status of a resource. It returns a *failure if flyctl does not
// understand the status.
func (s *subject) statusOf(members map[string]jsontext.Value) (flyext.Status, error) {
	value, ok := members["status"]
	if !ok && s.generation() == flyext.Generation1 {
		return "", &skip{"generation 1 requires no status, and the answer has no status"}
	}
	status := s.mapped(textOf(value))
	switch flyext.Status(status) {
	case flyext.Ready, flyext.Failed:
		return flyext.Status(status), nil
	case "":
		return "", &failure{`a "status" that is a string`, "an answer with " + memberKind(members, "status")}
	}
	if slices.Contains(misspelled, strings.ToLower(strings.TrimSpace(status))) {
		return "", &failure{`"ready" or "error"`, fmt.Sprintf("%q, which means \"still working\" to flyctl", status)}
	}
	return flyext.Status(status), nil
}

// mapped translates a status as Fly.io does; see [Conformance.Statuses].
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
		return skipFailure(err, noResource)
	}
	_, err = s.statusOf(members)
	return err
}

// noResource is why the checks that build on "fetch" are skipped.
const noResource = "GET does not return the extension"

// skipFailure turns a *failure into a *skip. It is for a failure that another check
// reports.
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

// awaitReady polls an extension as flyctl does, for as long as Patience.
func (s *subject) awaitReady(ctx context.Context, x *extension) error {
	for waited := time.Duration(0); ; waited += PollInterval {
		members, err := s.resource(ctx, x)
		if err != nil {
			return skipFailure(err, noResource)
		}
		status, err := s.statusOf(members)
		switch {
		case err != nil:
			return skipFailure(err, "flyctl does not understand the status")
		case status == flyext.Ready:
			return nil
		case status == flyext.Failed:
			return &failure{`"ready"`, fmt.Sprintf(`"error": %q`, textOf(members["error_message"]))}
		case waited >= s.Patience:
			return &failure{fmt.Sprintf(`"ready" within %v`, s.Patience), fmt.Sprintf("still %q", status)}
		}
		if err := s.platform.sleep(ctx, PollInterval); err != nil {
			return err
		}
	}
}

// fullUpdate returns an update of every field. The name is unique, because a provider may
// require it.
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

// patched returns a new extension after an update.
func (s *subject) patched(ctx context.Context) (*extension, error) {
	x, err := s.extension(ctx)
	if err != nil {
		return nil, err
	}
	return x, skipFailure(s.patch(ctx, x, fullUpdate(x)), "PATCH fails")
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

// showsRegions compares the read regions in the answer to GET, if it has any.
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
		wanted, _ := jsonv2.Marshal(want)
		return &failure{fmt.Sprintf(`"read_regions": %s`, wanted), fmt.Sprintf(`"read_regions": %s`, value)}
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
		return skipFailure(err, noResource)
	}
	if err := s.patch(ctx, x, fullUpdate(x)); err != nil {
		return skipFailure(err, "PATCH fails")
	}
	after, err := s.resource(ctx, x)
	if err != nil {
		return err
	}
	// A provider may choose the name itself. Its answers then have another name.
	told, _ := decodeObject(x.answer.ResponseBody)
	keeps := textOf(before["name"]) != order.Name || textOf(told["name"]) == order.Name
	if _, shown := after["name"]; shown && !keeps && textOf(after["name"]) == order.Name {
		return &failure{fmt.Sprintf(`"name": %q`, fullUpdate(x).Name.Value), fmt.Sprintf("the old name %q", order.Name)}
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
			missing = &skip{fmt.Sprintf("GET, PATCH and DELETE are not offered (%s)", e.Response.Status)}
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
