package commands

import (
	"context"
	"strconv"
	"strings"

	"keyturn/commands/output"
	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
)

// A discoveryDocument is a discovery in a list, in JSON.
type discoveryDocument struct {
	JobID     pam.UID      `json:"job_id"`
	Gateway   pam.UID      `json:"gateway_uid"`
	Scope     string       `json:"scope"`
	State     pam.JobState `json:"state"`
	Started   string       `json:"started"`
	Finished  string       `json:"finished,omitempty"`
	Processed string       `json:"processed,omitempty"`
	Count     int          `json:"machine_count"`
}

// A reportDocument is a discovery with what it found and proposes, in JSON.
type reportDocument struct {
	discoveryDocument
	Machines  []findingDocument  `json:"machines"`
	Proposals []proposalDocument `json:"proposals"`
	Left      []leftoverDocument `json:"not_proposed"`
	Unknown   []problemDocument  `json:"users_not_identified"`
}

type findingDocument struct {
	MachineUID pam.UID         `json:"machine_uid"`
	Machine    string          `json:"machine"`
	Seen       string          `json:"seen"`
	Items      []foundDocument `json:"items"`
	Warnings   []string        `json:"warnings,omitempty"`
	Error      *failureBody    `json:"error,omitempty"`
}

type foundDocument struct {
	Kind    pam.DependencyKind `json:"kind"`
	Name    string             `json:"name"`
	RunAs   string             `json:"run_as"`
	Account string             `json:"account,omitempty"`
	SID     string             `json:"sid,omitempty"`
	Class   string             `json:"class,omitempty"`
	Scope   string             `json:"scope,omitempty"`
	State   string             `json:"state,omitempty"`
	Reason  string             `json:"reason,omitempty"`
}

type proposalDocument struct {
	UserUID    pam.UID         `json:"user_uid"`
	User       string          `json:"user"`
	MachineUID pam.UID         `json:"machine_uid"`
	Machine    string          `json:"machine"`
	Types      []string        `json:"types"`
	Items      []foundDocument `json:"items"`
}

type leftoverDocument struct {
	MachineUID pam.UID         `json:"machine_uid"`
	Machine    string          `json:"machine"`
	Account    string          `json:"account,omitempty"`
	SID        string          `json:"sid,omitempty"`
	Reason     discover.Reason `json:"reason"`
	Candidates []userDocument  `json:"candidates"`
	Items      []foundDocument `json:"items"`
}

type problemDocument struct {
	UserUID pam.UID `json:"user_uid"`
	User    string  `json:"user"`
	Problem string  `json:"problem"`
}

// A report is a discovery with what follows from it now.
type report struct {
	discovery pam.Discovery
	findings  []pam.Finding
	proposals []discover.Proposal
	left      []discover.Leftover
	heads     map[pam.UID]pam.Head
}

// report reads a discovery and compares it with the present mappings.
func (c *call) report(ctx context.Context, id pam.UID) (report, error) {
	r := report{}
	var err error
	if r.discovery, r.findings, err = c.vault.Discovery(ctx, id); err != nil {
		return r, err
	}
	if r.heads, err = c.headsByUID(ctx); err != nil {
		return r, err
	}
	mappings, err := c.vault.AllMappings(ctx)
	if err != nil {
		return r, err
	}
	var known []discover.Known
	for _, h := range r.heads {
		if h.Type == pam.TypeUser {
			known = append(known, discover.Known{User: h.UID, Login: h.Summary})
		}
	}
	sortBy(known, func(k discover.Known) string { return sortKey(r.heads[k.User]) })
	r.proposals, r.left = discover.Propose(r.discovery, r.findings, known, mappings)
	return r, nil
}

func summaryOf(d pam.Discovery) discoveryDocument {
	return discoveryDocument{
		JobID: d.ID, Gateway: d.Gateway, Scope: d.Scope, State: d.State, Started: timestamp(d.Started),
		Finished: timestamp(d.Finished), Processed: timestamp(d.Processed), Count: d.Machines,
	}
}

func (r report) document() reportDocument {
	doc := reportDocument{
		summaryOf(r.discovery), []findingDocument{}, []proposalDocument{}, []leftoverDocument{}, []problemDocument{},
	}
	for _, f := range r.findings {
		fd := findingDocument{
			MachineUID: f.Machine, Machine: f.Title, Seen: timestamp(f.Seen), Items: foundDocuments(f.Items), Warnings: f.Warnings,
		}
		if f.Failure != "" {
			fd.Error = &failureBody{Code: f.Failure.Code(), Kind: f.Failure, Message: f.Message, Hint: f.Hint}
		}
		doc.Machines = append(doc.Machines, fd)
	}
	for _, p := range r.proposals {
		doc.Proposals = append(doc.Proposals, proposalDocument{
			UserUID: p.User, User: headTitle(r.heads, p.User), MachineUID: p.Machine, Machine: p.Title,
			Types: p.Kinds.Types(), Items: foundDocuments(p.Items),
		})
	}
	for _, l := range r.left {
		ld := leftoverDocument{
			MachineUID: l.Machine, Machine: l.Title, Account: l.Account, SID: l.SID, Reason: l.Reason,
			Candidates: []userDocument{}, Items: foundDocuments(l.Items),
		}
		for _, u := range l.Candidates {
			ld.Candidates = append(ld.Candidates, userDocument{u, headTitle(r.heads, u)})
		}
		doc.Left = append(doc.Left, ld)
	}
	for _, u := range r.unidentified() {
		doc.Unknown = append(doc.Unknown, problemDocument{u.User, headTitle(r.heads, u.User), u.Problem})
	}
	return doc
}

// unidentified are the users whose account is not known.
func (r report) unidentified() []pam.IdentifiedUser {
	var users []pam.IdentifiedUser
	for _, u := range r.discovery.Users {
		if u.Identity.Alias == "" && u.Problem != "" {
			users = append(users, u)
		}
	}
	return users
}

func foundDocuments(items []pam.FoundItem) []foundDocument {
	docs := []foundDocument{}
	for _, i := range items {
		docs = append(docs, foundDocument{
			Kind: i.Kind, Name: i.Name, RunAs: i.RunAs, Account: i.Owner.Name, SID: i.Owner.SID, Class: i.Owner.Class,
			Scope: i.Owner.Scope, State: i.State, Reason: i.Skip,
		})
	}
	return docs
}

// view shows a report: what is proposed, what is not and why, and what failed.
func (r report) view() output.View {
	v := output.View{Document: r.document(), CSV: r.csv()}
	seen := 0
	for _, f := range r.findings {
		if f.Failure == "" {
			seen++
		}
	}
	nothing := "Nothing is proposed: whatever runs as a user that is rotated is mapped already."
	if seen < r.discovery.Machines {
		nothing = "Nothing is proposed for the machines that were looked at."
	}
	v.Before = []string{
		"Job ID    : " + string(r.discovery.ID),
		"Status    : " + string(r.discovery.State),
		"Looked at : " + r.discovery.Scope + ", " + strconv.Itoa(seen) + " of " + strconv.Itoa(r.discovery.Machines) + " machines",
		"",
	}
	if t := r.proposalTable(); len(t.Rows) > 0 {
		v.Tables = append(v.Tables, t)
	} else {
		v.Before = append(v.Before, nothing, "")
	}
	if t := r.leftTable(); len(t.Rows) > 0 {
		v.Tables = append(v.Tables, t)
	}
	for _, f := range r.findings {
		if f.Failure != "" {
			v.After = append(v.After, "not looked at: "+f.Title+": "+f.Message)
		}
		for _, w := range f.Warnings {
			v.After = append(v.After, "warning: "+f.Title+": "+w)
		}
	}
	for _, u := range r.unidentified() {
		v.After = append(v.After, "not identified: "+headTitle(r.heads, u.User)+": "+u.Problem)
	}
	if len(v.After) > 0 {
		v.After = append([]string{""}, v.After...)
	}
	return v
}

func (r report) proposalTable() output.Table {
	t := output.Table{
		Title: "Proposed mappings", Header: []string{"User", "Machine", "Types", "What runs as it"},
		Prose: []string{"Types", "What runs as it"},
	}
	for _, p := range r.proposals {
		t.Rows = append(t.Rows, []string{headTitle(r.heads, p.User), p.Title, p.Kinds.Label(), kindWords(p.Items)})
	}
	return t
}

// leftTable leaves out what is mapped already: that is as it should be.
func (r report) leftTable() output.Table {
	t := output.Table{
		Title: "Not proposed", Header: []string{"Machine", "Account", "What runs as it", "Reason", "Records"},
		Prose: []string{"What runs as it", "Reason", "Records"},
	}
	for _, l := range r.left {
		if l.Reason == discover.ReasonMapped {
			continue
		}
		t.Rows = append(t.Rows, []string{l.Title, l.Account, kindWords(l.Items), leftText(l.Reason), r.titles(l.Candidates)})
	}
	return t
}

func (r report) titles(users []pam.UID) string {
	titles := make([]string, len(users))
	for i, u := range users {
		titles[i] = headTitle(r.heads, u)
	}
	return strings.Join(titles, ", ")
}

// leftTexts put the reasons of a discovery into words; JSON keeps the codes.
var leftTexts = map[discover.Reason]string{
	discover.ReasonUnknown:      "no record names this account",
	discover.ReasonNotRotated:   "a record has this login, and no rotation settings here",
	discover.ReasonUnidentified: "a record has this login, and its account could not be identified",
	discover.ReasonSeveral:      "several records name this account",
	discover.ReasonAmbiguous:    "cannot tell whom it runs as: not guessed",
	discover.ReasonUnresolved:   "the machine knows no such account",
	discover.ReasonManaged:      "a managed account: Windows changes its password",
	discover.ReasonAdmin:        "it logs in to this machine",
	discover.ReasonTwin:         "another record is of the same machine",
	discover.ReasonNoPassword:   "stores no password",
	discover.ReasonUnreadable:   "could not be read",
}

func leftText(reason discover.Reason) string {
	if text, ok := leftTexts[reason]; ok {
		return text
	}
	return string(reason)
}

// csv is one row for each thing that was found, with what follows for it.
func (r report) csv() *output.Table {
	t := &output.Table{Header: []string{
		"machine_uid", "machine", "kind", "name", "run_as", "account", "sid", "proposed_user_uid", "proposed_user", "reason",
	}}
	row := func(machine pam.UID, title string, i pam.FoundItem, user pam.UID, reason string) {
		name := ""
		if user != "" {
			name = headTitle(r.heads, user)
		}
		t.Rows = append(t.Rows, []string{
			string(machine), title, string(i.Kind), i.Name, i.RunAs, i.Owner.Name, i.Owner.SID, string(user), name, reason,
		})
	}
	for _, p := range r.proposals {
		for _, i := range p.Items {
			row(p.Machine, p.Title, i, p.User, "")
		}
	}
	for _, l := range r.left {
		for _, i := range l.Items {
			row(l.Machine, l.Title, i, "", string(l.Reason))
		}
	}
	return t
}
