package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/flyext/flyext"
)

// Logjam sells log streams. It implements [flyext.Provisioner],
// [flyext.Fetcher], [flyext.Deprovisioner] and [flyext.EventReceiver].
type Logjam struct {
	store    *store
	webhooks *webhooks // for changes on the dashboard; nil means no webhooks
}

// plans are the plans that a customer can order. The first one is the default.
var plans = []string{"starter", "pro", "scale"}

// planOf reads Logjam's own option "plan" from the parameters that are not part of
// the protocol. If the option is absent, planOf returns otherwise.
func planOf(extra map[string]json.RawMessage, otherwise string) (string, error) {
	raw, ok := extra["plan"]
	if !ok {
		return otherwise, nil
	}
	plan := plans[0] // null selects the default
	if err := json.Unmarshal(raw, &plan); err != nil || !slices.Contains(plans, plan) {
		return "", flyext.Invalid(fmt.Sprintf("There is no plan %[2]s. Choose one of: %[1]s.", strings.Join(plans, ", "), raw))
	}
	return plan, nil
}

// machineOf reads Logjam's option "machine_id", the machine whose logs the stream
// collects. If the option is absent, machineOf returns otherwise.
func machineOf(extra map[string]json.RawMessage, otherwise string) (string, error) {
	raw, ok := extra["machine_id"]
	if !ok {
		return otherwise, nil
	}
	machine := ""
	if err := json.Unmarshal(raw, &machine); err != nil {
		return "", flyext.Invalid("The option machine_id must be the id of a machine, as a string.")
	}
	return machine, nil
}

// asleep is the status of a stream that its customer put to sleep. The stream keeps
// its logs, and collects no new ones.
const asleep flyext.Status = "asleep"

// A stream is one customer's extension.
type stream struct {
	id             string
	organizationID string
	name           string
	plan           string
	primaryRegion  string
	readRegions    []string
	ipAddress      netip.Addr
	sealedPassword []byte
	status         flyext.Status
	machineID      string // machine whose logs it collects; "" means no particular one
}

// resource returns what Fly.io may know about a stream at any time. It has no
// secrets, because Fly.io has them from the first answer.
func (s *stream) resource() *flyext.Extension {
	plan, _ := json.Marshal(s.plan) // a string
	return &flyext.Extension{
		ID: s.id, Name: s.name, Status: s.status,
		Extra: map[string]json.RawMessage{"plan": plan},
	}
}

// These errors are the answers to requests for a stream that is not available. The
// customer sees their messages.
var (
	errNotFound = flyext.NotFound("There is no such log stream.")
	errDeleted  = flyext.Gone("This log stream was deleted.")
	errForeign  = flyext.Conflict("This log stream belongs to another organization.")

	errForeignMachine = flyext.Conflict("A log stream of another organization collects the logs of this machine. Choose another machine_id.")
)

// Provision implements [flyext.Provisioner]. It stores the organization, the user
// and the stream in one transaction. A retry leaves the stream unchanged and returns
// the same secrets, but only to the organization that owns the stream.
//
// The id of a deleted stream cannot be used again. A POST that arrives after the
// DELETE is a late retry, and Fly.io would never delete the stream made for it.
func (l *Logjam) Provision(ctx context.Context, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
	plan, err := planOf(req.Extra, plans[0])
	if err != nil {
		return nil, err
	}
	machine, err := machineOf(req.Extra, "")
	if err != nil {
		return nil, err
	}
	var s *stream
	err = l.store.inTx(ctx, func(tx *sql.Tx) (err error) {
		if err := countChange(ctx, tx, req.ID); err != nil {
			return err
		}
		s, err = ownStream(ctx, tx, req)
		isNew := errors.Is(err, errNotFound)
		switch {
		case isNew:
			s = l.newStream(req, plan, machine)
		case err != nil:
			return err
		}
		if err := claimMachine(ctx, tx, s); err != nil {
			return err
		}
		if err := saveOwner(ctx, tx, ownerOf(req)); err != nil {
			return err
		}
		if err := saveStream(ctx, tx, s); err != nil || !isNew {
			return err
		}
		return recordActivity(ctx, tx, s.organizationID, activity{
			What: "Created", StreamID: s.id, StreamName: s.name, Who: actor(req.UserEmail, req.UserID),
		})
	})
	if err != nil {
		return nil, err
	}
	return l.extension(s)
}

// ownStream returns the existing stream with the id of a request, unless the stream
// belongs to another organization.
func ownStream(ctx context.Context, tx *sql.Tx, req *flyext.ProvisionRequest) (*stream, error) {
	s, err := findStream(ctx, tx, req.ID)
	if err != nil {
		return nil, err
	}
	if s.organizationID != req.OrganizationID {
		return nil, errForeign
	}
	return s, nil
}

// ownerOf returns the organization and the user of a request.
func ownerOf(req *flyext.ProvisionRequest) owner {
	return owner{
		organizationID: req.OrganizationID, organizationName: req.OrganizationName, organizationEmail: req.OrganizationEmail,
		userID: req.UserID, userEmail: req.UserEmail, userRole: req.UserRole,
	}
}

// newStream returns the stream of a request, with a new password.
func (l *Logjam) newStream(req *flyext.ProvisionRequest, plan, machine string) *stream {
	return &stream{
		id: req.ID, organizationID: req.OrganizationID, name: req.Name, plan: plan,
		primaryRegion: req.PrimaryRegion, readRegions: req.ReadRegions, ipAddress: req.IPAddress,
		sealedPassword: l.store.box.seal(rand.Text(), req.ID),
		status:         flyext.Ready, machineID: machine,
	}
}

// Update implements [flyext.Provisioner]. Fields that are not in the request stay
// unchanged.
func (l *Logjam) Update(ctx context.Context, id string, req *flyext.UpdateRequest) (*flyext.Extension, error) {
	var s *stream
	err := l.store.inTx(ctx, func(tx *sql.Tx) (err error) {
		if err := countChange(ctx, tx, id); err != nil {
			return err
		}
		if s, err = findStream(ctx, tx, id); err != nil {
			return err
		}
		was := *s
		if err := s.update(req); err != nil {
			return err
		}
		if err := claimMachine(ctx, tx, s); err != nil {
			return err
		}
		err = saveOwner(ctx, tx, owner{
			organizationID: s.organizationID, organizationName: req.OrganizationName.Value, organizationEmail: req.OrganizationEmail.Value,
			userID: req.UserID.Value, userEmail: req.UserEmail.Value, userRole: req.UserRole.Value,
		})
		if err != nil {
			return err
		}
		if err := saveStream(ctx, tx, s); err != nil {
			return err
		}
		change := changeOf(&was, s)
		if change == "" {
			return nil
		}
		return recordActivity(ctx, tx, s.organizationID, activity{
			What: change, StreamID: s.id, StreamName: s.name, Who: actor(req.UserEmail.Value, req.UserID.Value),
		})
	})
	if err != nil {
		return nil, err
	}
	return l.extension(s)
}

// update sets the fields that are in the request.
func (s *stream) update(req *flyext.UpdateRequest) (err error) {
	if s.plan, err = planOf(req.Extra, s.plan); err != nil {
		return err
	}
	if s.machineID, err = machineOf(req.Extra, s.machineID); err != nil {
		return err
	}
	apply(&s.name, req.Name)
	apply(&s.primaryRegion, req.PrimaryRegion)
	apply(&s.readRegions, req.ReadRegions)
	apply(&s.ipAddress, req.IPAddress)
	s.organizationID = cmp.Or(req.OrganizationID.Value, s.organizationID)
	return nil
}

// apply sets *to if the field is in the request. For null it sets the zero value.
func apply[T any](to *T, o flyext.Optional[T]) {
	if o.Present {
		*to = o.Value
	}
}

// Fetch implements [flyext.Fetcher]. The answer has no secrets, because Fly.io has
// them from the first answer.
func (l *Logjam) Fetch(ctx context.Context, id string) (*flyext.Extension, error) {
	var s *stream
	err := l.store.inTx(ctx, func(tx *sql.Tx) (err error) {
		s, err = findStream(ctx, tx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.resource(), nil
}

// Deprovision implements [flyext.Deprovisioner]. Deleting a deleted stream again
// succeeds. An unknown id is an error: the stream may exist elsewhere, where it would
// keep costing the customer money.
func (l *Logjam) Deprovision(ctx context.Context, id string) error {
	return l.store.inTx(ctx, func(tx *sql.Tx) error {
		if err := countChange(ctx, tx, id); err != nil {
			return err
		}
		s, err := findStream(ctx, tx, id)
		switch {
		case errors.Is(err, errDeleted):
			return nil
		case err != nil:
			return err
		}
		return removeStream(ctx, tx, s, actor("", ""))
	})
}

// secretName is the environment variable with the secret in the customer's app.
const secretName = "LOGJAM_URL"

// extension returns the answer for a stream, with its secrets.
func (l *Logjam) extension(s *stream) (*flyext.Extension, error) {
	password, err := l.store.box.open(s.sealedPassword, s.id)
	if err != nil {
		return nil, fmt.Errorf("cannot decrypt the stream's password: %w", err)
	}
	u := url.URL{Scheme: "https", User: url.UserPassword(s.id, password), Host: "logjam.example"}
	x := s.resource()
	x.Secrets = flyext.Secrets{secretName: u.String()}
	return x, nil
}
