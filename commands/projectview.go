package commands

import (
	"strconv"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

// A projectRow is one thing that a project is made of.
type projectRow struct {
	Action vault.ImportAction `json:"action"`
	Kind   string             `json:"kind"`
	Title  string             `json:"title"`
	Detail string             `json:"detail,omitempty"`
	UID    pam.UID            `json:"uid,omitempty"`
	Place  string             `json:"place,omitempty"`
}

// rows lists what is made, in the order in which it is.
func (p *projectPlan) rows(actions []vault.ImportAction) []projectRow {
	var rows []projectRow
	add := func(r projectRow) { rows = append(rows, r) }
	if g := p.parts.Gateway; g != nil {
		add(projectRow{vault.ImportAdd, "gateway", g.Name, "", "", "pam_configuration"})
	}
	if p.isNew {
		detail := p.configuration.Environment + ", gateway " + p.gateway
		add(projectRow{vault.ImportAdd, "configuration", p.configuration.Title, detail, p.configuration.UID, "pam_configuration"})
	}
	added := map[pam.UID]bool{}
	for i, r := range p.file.Records {
		added[p.uids[i]] = actions[i] == vault.ImportAdd
		detail := "/" + pam.JoinPath(p.parts.Records[i].Folder)
		add(projectRow{actions[i], string(r.Record.Type), r.Record.Title, detail, p.uids[i], r.Place})
	}
	for _, s := range p.parts.Resources {
		if added[s.Resource] && s.Admin != "" {
			add(projectRow{vault.ImportAdd, "admin", p.title(s.Resource), p.title(s.Admin), "", ""})
		}
	}
	for _, s := range p.parts.Rotations {
		if added[s.User] {
			detail := p.title(s.Resource) + ", on"
			if !s.Enabled {
				detail = p.title(s.Resource) + ", off"
			}
			add(projectRow{vault.ImportAdd, "rotation", p.title(s.User), detail, "", ""})
		}
	}
	for _, m := range p.parts.Mappings {
		add(projectRow{vault.ImportAdd, "mapping", p.title(m.User), p.title(m.Machine) + ": " + m.Kinds.Label(), "", ""})
	}
	return rows
}

// title is the title of a record of the file or the vault.
func (p *projectPlan) title(uid pam.UID) string {
	for i, u := range p.uids {
		if u == uid {
			return p.file.Records[i].Record.Title
		}
	}
	return titleOf(p.heads, uid)
}

//nolint:revive // dryRun is the flag of the command line
func (p *projectPlan) view(actions []vault.ImportAction, dryRun bool) output.View {
	t := output.Table{Header: []string{"Action", "Kind", "Title", "Detail", "Place"}, Prose: []string{"Detail", "Place"}}
	rows := p.rows(actions)
	made, skipped := 0, 0
	for _, r := range rows {
		t.Rows = append(t.Rows, []string{string(r.Action), r.Kind, r.Title, r.Detail, r.Place})
		if r.Action == vault.ImportSkip {
			skipped++
		} else {
			made++
		}
	}
	notes := append([]string{}, p.file.Notes...)
	v := output.View{Tables: []output.Table{t}, CSV: &t, Document: map[string]any{
		"dry_run": dryRun, "project": p.name, "configuration_uid": p.configuration.UID, "parts": rows, "notes": notes,
	}}
	for _, n := range notes {
		v.After = append(v.After, "note: "+n)
	}
	text := "Project " + strconv.Quote(p.name) + ": " + strconv.Itoa(made) + " part(s) made, " + strconv.Itoa(skipped) + " there already"
	if dryRun {
		text = "Dry run: project " + strconv.Quote(p.name) + ": " + strconv.Itoa(made) + " part(s) to make, " +
			strconv.Itoa(skipped) + " there already; nothing changed"
	}
	v.After = append(v.After, text)
	return v
}
