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
	webhooks *webhooks // of what Fly.io did not ask for; nil means none
}

// plans are what a customer may order, the default first.
var plans = []string{"starter", "pro", "scale"}

// planOf reads an option of Logjam's own, which flyctl sends beside the
// protocol's parameters.
func planOf(extra map[string]json.RawMessage, otherwise string) (string, error) {
	raw, ok := extra["plan"]
	if !ok {
		return otherwise, nil
	}
	plan := plans[0] // which null leaves as it is
	if err := json.Unmarshal(raw, &plan); err != nil || !slices.Contains(plans, plan) {
		return "", flyext.Invalid(fmt.Sprintf("Choose one of the plans %s; there is no plan %s.", strings.Join(plans, ", "), raw))
	}
	return plan, nil
}

// machineOf reads the other such option: whose logs are collected.
func machineOf(extra map[string]json.RawMessage, otherwise string) (string, error) {
	raw, ok := extra["machine_id"]
	if !ok {
		return otherwise, nil
	}
	machine := ""
	if err := json.Unmarshal(raw, &machine); err != nil {
		return "", flyext.Invalid("The option machine_id is not the id of a machine.")
	}
	return machine, nil
}

// asleep is the status of a stream that its customer put to sleep: it keeps
// what it has, and takes nothing in.
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
	machineID      string // whose logs it collects, or ""
}

// resource is what Fly.io may know of a stream at any time: no secrets, which
// it has from the first answer.
func (s *stream) resource() *flyext.Extension {
	plan, _ := json.Marshal(s.plan) // a string
	return &flyext.Extension{
		ID: s.id, Name: s.name, Status: s.status,
		Extra: map[string]json.RawMessage{"plan": plan},
	}
}

// What a customer reads whose stream cannot be had.
var (
	errNotFound = flyext.NotFound("There is no such log stream.")
	errDeleted  = flyext.Gone("This log stream was deleted.")
	errForeign  = flyext.Conflict("This log stream belongs to another organization.")
)

// Provision implements [flyext.Provisioner]. Organization, user and stream are
// there together or not at all. Asked again, it changes nothing of the stream
// and returns the secrets of the first time; but never to an organization that
// they are not of.
//
// An id that was deprovisioned stays so: a POST that arrives after the DELETE
// is a late retry, and a stream made for it would be one that nobody deletes.
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
		isNew := false
		switch s, err = findStream(ctx, tx, req.ID); {
		case errors.Is(err, errNotFound):
			isNew = true
			s = &stream{
				id: req.ID, organizationID: req.OrganizationID, name: req.Name, plan: plan,
				primaryRegion: req.PrimaryRegion, readRegions: req.ReadRegions, ipAddress: req.IPAddress,
				sealedPassword: l.store.box.seal(rand.Text(), req.ID),
				status:         flyext.Ready, machineID: machine,
			}
		case err != nil:
			return err
		case s.organizationID != req.OrganizationID:
			return errForeign
		}
		err = saveOwner(ctx, tx, owner{
			organizationID: req.OrganizationID, organizationName: req.OrganizationName, organizationEmail: req.OrganizationEmail,
			userID: req.UserID, userEmail: req.UserEmail, userRole: req.UserRole,
		})
		if err != nil {
			return err
		}
		if err := saveStream(ctx, tx, s); err != nil || !isNew {
			return err
		}
		return recordActivity(ctx, tx, s.organizationID, activity{
			What: "Provisioned", StreamID: s.id, StreamName: s.name, Who: actor(req.UserEmail, req.UserID),
		})
	})
	if err != nil {
		return nil, err
	}
	return l.extension(s)
}

// Update implements [flyext.Provisioner]. What the request does not mention
// stays as it is.
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

// apply sets what is present; null is the empty value.
func apply[T any](to *T, o flyext.Optional[T]) {
	if o.Present {
		*to = o.Value
	}
}

// Fetch implements [flyext.Fetcher]. It leaves out the secrets: flyctl has them
// from the first answer.
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

// Deprovision implements [flyext.Deprovisioner]. To delete again what was
// deleted is a success. An id that Logjam never saw is not: the request means
// a stream that is somewhere else, and goes on costing its customer money.
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

// secretName is the environment variable that a customer's app reads.
const secretName = "LOGJAM_URL"

// extension is the answer for a stream, with its secrets.
func (l *Logjam) extension(s *stream) (*flyext.Extension, error) {
	password, err := l.store.box.open(s.sealedPassword, s.id)
	if err != nil {
		return nil, fmt.Errorf("the stream's password does not open: %w", err)
	}
	u := url.URL{Scheme: "https", User: url.UserPassword(s.id, password), Host: "logjam.example"}
	x := s.resource()
	x.Secrets = flyext.Secrets{secretName: u.String()}
	return x, nil
}
