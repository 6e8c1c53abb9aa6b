package commands

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"time"

	"keyturn/pkg/pam"
)

const (
	planVersion = 1
	maxPlanFile = 32 << 20 // a plan of ten thousand machines is a third of it
	sealOfPlans = "plan"
)

// A planDocument is what a dry run found, in JSON: a job's document without the
// job's own fields, and what it takes to hold reality against it later. Hash is
// of the whole document without hash and seal; the seal is the vault's own mark
// of the hash, so that a plan of another vault, or one that was edited, is known.
type planDocument struct {
	PlanVersion int    `json:"plan_version"`
	Hash        string `json:"plan_hash,omitempty"`
	Seal        string `json:"plan_seal,omitempty"`
	Created     string `json:"created"`
	jobDocument
	AccountUID pam.UID         `json:"account_uid"`
	Identity   string          `json:"account_identity"`
	Authority  placeDocument   `json:"authority"`
	Machines   []placeDocument `json:"machines"`
	Restart    string          `json:"restart"`
	Options    planOptions     `json:"options"`
}

type placeDocument struct {
	Machine pam.UID `json:"machine_uid"`
	Title   string  `json:"machine"`
	Address string  `json:"address"`
	ID      string  `json:"machine_id,omitempty"`
}

// planOptions are the options that the plan was made with, and will run with.
type planOptions struct {
	SkipUnreachable bool `json:"skip_unreachable"`
	NoRestart       bool `json:"no_restart"`
	AllowReset      bool `json:"allow_reset"`
	// To and Unlock are left out when they are not used: plans from before them
	// keep their hash.
	To             string     `json:"to,omitempty"`
	Unlock         bool       `json:"unlock,omitempty"`
	GrantRights    bool       `json:"grant_rights"`
	Policy         pam.Policy `json:"policy"`
	MaxConcurrency int        `json:"max_concurrency"`
	SettleMS       int64      `json:"settle_ms"`
}

func newPlanDocument(p pam.Plan, o pam.JobOptions, now time.Time) planDocument {
	d := planDocument{
		PlanVersion: planVersion, Created: timestamp(now),
		jobDocument: jobDocument{
			UserUID: p.User, User: p.UserTitle, Account: p.AccountName, State: statePlanned, Phase: pam.PhaseLook,
			Message: "nothing has been changed", Items: itemDocuments(p.Items), Warnings: p.Warnings,
			Notes: p.Notes, To: o.To, Unlock: o.Unlock,
		},
		AccountUID: p.Account, Identity: p.Identity, Authority: placeDocument(p.Authority), Machines: []placeDocument{},
		Restart: p.Restart,
		Options: planOptions{
			o.SkipUnreachable, o.NoRestart, o.AllowReset, string(o.To), o.Unlock, o.GrantRights,
			o.Policy, o.MaxConcurrency, o.Settle.Milliseconds(),
		},
	}
	for _, m := range p.Machines {
		d.Machines = append(d.Machines, placeDocument(m))
	}
	return d
}

// plan is the document as the engine knows it.
func (d planDocument) plan() pam.Plan {
	p := pam.Plan{
		User: d.UserUID, UserTitle: d.User, Account: d.AccountUID, AccountName: d.Account, Identity: d.Identity,
		Authority: pam.Place(d.Authority), Restart: d.Restart, Warnings: d.Warnings, Notes: d.Notes,
	}
	for _, m := range d.Machines {
		p.Machines = append(p.Machines, pam.Place(m))
	}
	for _, i := range d.Items {
		p.Items = append(p.Items, pam.Item{
			Machine: i.MachineUID, MachineTitle: i.Machine, Kind: i.Kind, Name: i.Name, Phase: i.Phase, Status: i.Status,
			Action: i.Action, Reason: i.Reason, Before: i.Before, After: i.After, Error: i.Error,
		})
	}
	return p
}

// options are the options of the job that runs the plan.
func (d planDocument) options() pam.JobOptions {
	p, o := d.plan(), d.Options
	return pam.JobOptions{
		SkipUnreachable: o.SkipUnreachable, NoRestart: o.NoRestart, AllowReset: o.AllowReset, To: pam.GenerationStatus(o.To),
		Unlock: o.Unlock, GrantRights: o.GrantRights,
		Policy: o.Policy, MaxConcurrency: o.MaxConcurrency, Settle: time.Duration(o.SettleMS) * time.Millisecond, Approved: &p,
		PlanHash: d.Hash,
	}
}

// hash is the digest of everything that the document says.
func (d planDocument) hash() (string, error) {
	d.Hash, d.Seal = "", ""
	text, err := json.Marshal(d)
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:]), err
}

// A sealer marks a text as a vault's own.
type sealer func(text string) (string, error)

func (d planDocument) sealed(seal sealer) (planDocument, error) {
	var err error
	if d.Hash, err = d.hash(); err != nil {
		return d, err
	}
	d.Seal, err = seal(d.Hash)
	return d, err
}

// readPlan reads a plan file and refuses one that this vault did not write, or
// not like that. Errors are ErrInvalidInput.
func readPlan(r io.Reader, seal sealer) (planDocument, error) {
	var d planDocument
	text, err := io.ReadAll(io.LimitReader(r, maxPlanFile+1))
	if err != nil {
		return d, pam.Errorf(pam.ErrIO, "read it: %w", err)
	}
	if len(text) > maxPlanFile {
		return d, pam.Errorf(pam.ErrInvalidInput, "it is larger than any plan")
	}
	if err := strictly(text, &d); err != nil {
		return d, err
	}
	if !readsAlike(text, d) {
		return d, pam.Errorf(pam.ErrInvalidInput, "it says something under another name than the program writes: "+
			"who reads it may take it for another plan")
	}
	hash, err := d.hash()
	if err != nil {
		return d, pam.Errorf(pam.ErrInternal, "digest: %w", err)
	}
	mark, err := seal(hash)
	switch {
	case err != nil:
		return d, err
	case d.Hash != hash:
		return d, pam.Errorf(pam.ErrInvalidInput, "it was changed after it was written: its digest is not that of its content")
	case d.Seal != mark:
		return d, pam.Errorf(pam.ErrInvalidInput, "this vault did not write it")
	case len(d.Items) == 0 || d.Items[0].Kind != pam.KindAccount:
		return d, pam.Errorf(pam.ErrInvalidInput, "it plans nothing")
	}
	return d, nil
}

// readsAlike reports whether a plan's text says what was read of it and nothing
// else: encoding/json takes names in any case, and the last of several.
func readsAlike(text []byte, d planDocument) bool {
	again, err := json.Marshal(d)
	if err != nil {
		return false
	}
	var was, is any
	return json.Unmarshal(text, &was) == nil && json.Unmarshal(again, &is) == nil && reflect.DeepEqual(was, is)
}

// strictly decodes one JSON document of a version that is known here.
func strictly(text []byte, d *planDocument) error {
	var version struct {
		PlanVersion *int `json:"plan_version"`
	}
	switch err := json.Unmarshal(text, &version); {
	case len(bytes.TrimSpace(text)) == 0:
		return pam.Errorf(pam.ErrInvalidInput, "it is empty")
	case err != nil:
		return pam.Errorf(pam.ErrInvalidInput, "it is no plan, or was cut off: %w", err)
	case version.PlanVersion == nil:
		return pam.Errorf(pam.ErrInvalidInput, "it is no plan")
	case *version.PlanVersion != planVersion:
		return pam.Errorf(pam.ErrInvalidInput, "it is a plan of version %d, and this program reads version %d",
			*version.PlanVersion, planVersion)
	}
	decode := json.NewDecoder(bytes.NewReader(text))
	decode.DisallowUnknownFields()
	if err := decode.Decode(d); err != nil {
		return pam.Errorf(pam.ErrInvalidInput, "it is no plan: %w", err)
	}
	return nil
}

// sealPlan is the vault's mark of a plan's hash.
func (c *call) sealPlan(hash string) (string, error) { return c.vault.Seal(sealOfPlans, hash) }

// planFile reads the plan that --plan names.
func (c *call) planFile(ctx context.Context, name string) (planDocument, error) {
	f, err := c.open(ctx, name)
	if err != nil {
		return planDocument{}, pam.Errorf(unreadable(pam.ErrInvalidInput, err), "plan %s: %w; nothing changed", name, cause(err)).
			WithHint(planHint)
	}
	defer f.Close() //nolint:errcheck // only read
	d, err := readPlan(f, c.sealPlan)
	if err != nil {
		return d, pam.Errorf(pam.KindOf(err), "plan %s: %w; nothing changed", name, err).WithHint(planHint)
	}
	return d, nil
}

const planHint = "write one: keyturn pam action rotate -r USER --plan-out FILE"

// cause is what went wrong with a file, without its name.
func cause(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// planFor makes the plan's document, and writes it to the file if one is named.
func (c *call) planFor(ctx context.Context, user pam.Head, o pam.JobOptions, file string) (planDocument, pam.Plan, error) {
	p, err := c.DryRun(ctx, user.UID, o)
	if err != nil {
		return planDocument{}, p, err
	}
	p.UserTitle = user.Title
	d, err := newPlanDocument(p, o, c.Now()).sealed(c.sealPlan)
	if err != nil || file == "" {
		return d, p, err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return d, p, pam.Errorf(pam.ErrInternal, "write the plan: %w", err)
	}
	return d, p, c.writePlan(file, append(text, '\n'))
}

// writePlan writes a file that only its owner can read, all of it or nothing.
func (c *call) writePlan(file string, text []byte) error {
	to, err := c.destination("--plan-out", file)
	if err != nil {
		return err
	}
	defer to.abandon()
	if err := to.write(text); err != nil {
		return pam.Errorf(pam.ErrIO, "write the plan to %s: %w; nothing changed", file, cause(err))
	}
	return nil
}
