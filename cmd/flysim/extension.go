package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

const updateHelp = `Update changes an extension. It sends only the values that you set, because an
absent value differs from an empty one. Without --read-region the read regions do
not change, and --no-read-regions removes them all.`

// updateOptions holds the flags of update.
type updateOptions struct {
	name, region  string
	readRegions   []string
	noReadRegions bool
	options       []string
	unset         []string
	params        string
}

func (p *program) updateCommand() *cobra.Command {
	var c updateOptions
	cmd := &cobra.Command{
		Use: "update ID [flags]", Short: "Change an extension", Long: updateHelp, Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error { return p.update(cmd, args[0], &c) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.name, "name", "", "the new `name`, which may be empty")
	flags.StringVar(&c.region, "region", "", "the new primary `region`")
	flags.StringArrayVar(&c.readRegions, "read-region", nil, "a `region` for replicas, which replaces all current ones; repeatable")
	flags.BoolVar(&c.noReadRegions, "no-read-regions", false, "remove all read regions by sending an empty list")
	flags.StringArrayVar(&c.options, "option", nil, optionHelp)
	flags.StringArrayVar(&c.unset, "unset", nil, "send the member `key` as null; repeatable")
	flags.StringVar(&c.params, "params", "", paramsHelp)
	return cmd
}

func (p *program) update(cmd *cobra.Command, id string, c *updateOptions) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	req, err := p.updateRequest(cmd, c)
	if err != nil {
		return err
	}
	x, err := fly.Update(cmd.Context(), id, req)
	if err != nil {
		return err
	}
	return p.showExtension(x)
}

// updateRequest returns a request with only the values that the flags set.
func (p *program) updateRequest(cmd *cobra.Command, c *updateOptions) (req flyext.UpdateRequest, err error) {
	if req.Extra, err = p.updateExtra(c); err != nil {
		return req, err
	}
	if cmd.Flags().Changed("name") {
		req.Name = flyext.OptionalOf(c.name)
	}
	if cmd.Flags().Changed("region") {
		req.PrimaryRegion = flyext.OptionalOf(c.region)
	}
	if req.ReadRegions, err = c.newReadRegions(); err != nil {
		return req, err
	}
	changes := len(req.Extra)
	for name, set := range map[string]bool{
		"name": req.Name.Present, "primary_region": req.PrimaryRegion.Present, "read_regions": req.ReadRegions.Present,
	} {
		if !set {
			continue
		}
		changes++
		if _, twice := req.Extra[name]; twice {
			return req, usagef("%q is set twice; set it once", name)
		}
	}
	if changes == 0 {
		return req, usagef("nothing to change; %s --help lists the flags that set values", cmd.CommandPath())
	}
	return req, nil
}

// updateExtra returns the members of --option, --params and --unset.
func (p *program) updateExtra(c *updateOptions) (map[string]json.RawMessage, error) {
	extra, err := p.extra(c.options, c.params)
	if err != nil {
		return nil, err
	}
	if extra == nil {
		extra = make(map[string]json.RawMessage)
	}
	for _, name := range c.unset {
		if _, twice := extra[name]; twice || name == "" {
			return nil, usagef("--unset %q: the key is empty or also set; use a key that is not set", name)
		}
		extra[name] = json.RawMessage("null")
	}
	return extra, nil
}

// newReadRegions returns the read regions of the flags. They are absent if the flags
// do not change them.
func (c *updateOptions) newReadRegions() (regions flyext.Optional[[]string], err error) {
	switch {
	case c.noReadRegions && len(c.readRegions) > 0:
		return regions, usagef("--read-region and --no-read-regions exclude each other; use one of them")
	case c.noReadRegions:
		return flyext.OptionalOf([]string{}), nil
	case len(c.readRegions) > 0:
		return flyext.OptionalOf(c.readRegions), nil
	}
	return regions, nil
}

const fetchHelp = `Fetch asks for an extension and shows the answer. The route is optional for
providers. Fly.io uses it for a provider that is registered as asynchronous, until
the status is "ready" or "error".`

func (p *program) fetchCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "fetch ID [flags]", Short: "Show an extension", Long: fetchHelp, Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error { return p.fetch(cmd, args[0], wait) },
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "ask every 2s for up to 4m, as flyctl does, until the status is ready or error")
	return cmd
}

func (p *program) fetch(cmd *cobra.Command, id string, wait bool) error {
	fly, err := p.platform()
	if err != nil {
		return err
	}
	ask := fly.Fetch
	if wait {
		p.err.show("Waiting for " + id + " to be ready …")
		ask = fly.Await
	}
	x, err := ask(cmd.Context(), id)
	p.err.clear()
	if e, ok := errors.AsType[*flytest.ProvisioningError](err); ok {
		if p.json {
			doc := jsonCreation{JSONExtension: newJSONExtension(e.Extension), Error: p.newJSONError(err)}
			p.writeJSON(doc)
			return &reportedError{err}
		}
		if err := p.showExtension(e.Extension); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return p.showExtension(x)
}

// showExtension shows the extension in an answer. It shows only the names of the
// secrets, because Fly.io reads secrets from the first answer only.
func (p *program) showExtension(x *flyext.Extension) error {
	if p.json {
		p.writeJSON(newJSONExtension(x))
		return nil
	}
	for _, member := range []struct{ label, value string }{
		{"id", x.ID},
		{"name", x.Name},
		{"status", cmp.Or(string(x.Status), "missing, which means ready")},
		{"message", x.Message},
		{"app", x.FlyAppName},
		{"secrets", strings.Join(slices.Sorted(maps.Keys(x.Secrets)), ", ")},
	} {
		if member.value != "" {
			p.out.hangAs(dim, (member.label + "         ")[:9], plain, member.value)
		}
	}
	return nil
}

func (p *program) deprovisionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "deprovision ID [flags]", Short: "Remove an extension", Args: oneID,
		Long: "Deprovision removes an extension. The provider must also accept a second request\nfor the same extension.",
		RunE: func(cmd *cobra.Command, args []string) error {
			fly, err := p.platform()
			if err != nil {
				return err
			}
			if err := fly.Deprovision(cmd.Context(), args[0]); err != nil {
				return err
			}
			if p.json {
				p.writeJSON(map[string]any{"id": args[0], "deprovisioned": true})
				return nil
			}
			p.out.wrap(plain, "", "Deprovisioned "+args[0]+".")
			return nil
		},
	}
}
