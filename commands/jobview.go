package commands

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// statePlanned is what a plan says where a job has its state.
const statePlanned = "planned"

// A jobDocument is a job in JSON. A plan is the same without the job's id.
type jobDocument struct {
	JobID    pam.UID        `json:"job_id,omitempty"`
	UserUID  pam.UID        `json:"user_uid"`
	User     string         `json:"user"`
	Account  string         `json:"account"`
	State    pam.JobState   `json:"state"`
	Phase    pam.Phase      `json:"phase"`
	Started  *time.Time     `json:"started"` // null before
	Finished *time.Time     `json:"finished"`
	Message  string         `json:"message"`
	Hint     string         `json:"hint,omitempty"`
	Failure  pam.Kind       `json:"failure,omitempty"`
	WindowMS int64          `json:"window_ms"`
	Items    []itemDocument `json:"items"`
	Warnings []string       `json:"warnings,omitempty"`
	Notes    []string       `json:"notes,omitempty"`
	// To is "previous" for a job that sets the password of before again; Unlock, for
	// one that may unlock its account.
	To     pam.GenerationStatus `json:"to,omitempty"`
	Unlock bool                 `json:"unlock,omitempty"`
	// SupersededBy is the later job that took the place of this one.
	SupersededBy pam.UID `json:"superseded_by,omitempty"`
}

type itemDocument struct {
	MachineUID pam.UID            `json:"machine_uid"`
	Machine    string             `json:"machine"`
	Kind       pam.DependencyKind `json:"kind"`
	Name       string             `json:"name"`
	Phase      pam.Phase          `json:"phase"`
	Status     pam.Status         `json:"status"`
	Action     pam.Action         `json:"action"`
	Reason     string             `json:"reason"`
	Before     pam.Snapshot       `json:"before"`
	After      pam.Snapshot       `json:"after"`
	Error      *pam.ItemError     `json:"error"`
	TookMS     int64              `json:"took_ms"`
}

func itemDocuments(items []pam.Item) []itemDocument {
	docs := []itemDocument{}
	for _, i := range items {
		docs = append(docs, itemDocument{
			MachineUID: i.Machine, Machine: i.MachineTitle, Kind: i.Kind, Name: i.Name, Phase: i.Phase, Status: i.Status,
			Action: i.Action, Reason: i.Reason, Before: i.Before, After: i.After, Error: i.Error,
			TookMS: i.Took.Milliseconds(),
		})
	}
	return docs
}

// instant is a time in UTC, or null when it has not come.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

func documentOf(j pam.Job) jobDocument {
	return jobDocument{
		JobID: j.ID, UserUID: j.User, User: j.UserTitle, Account: j.AccountName, State: j.State, Phase: j.Phase,
		Started: instant(j.Started), Finished: instant(j.Finished), Message: j.Message, Hint: hintOf(j),
		Failure: j.Failure, WindowMS: j.Window.Milliseconds(), Items: itemDocuments(j.Items), Warnings: j.Warnings,
		SupersededBy: j.SupersededBy, Notes: j.Notes, To: j.Options.To, Unlock: j.Options.Unlock,
	}
}

const (
	labelMessage = "Response Message"
	labelNext    = "Next"
)

// jobBlock is the block of job-info, as on the reference page.
func jobBlock(j pam.Job, now time.Time) []string {
	lines := []string{
		"Job id to check [" + string(j.ID) + "]",
		"",
		"Execution Details",
		"-------------------------",
		fmt.Sprintf("%-20s: %s", "Status", j.State),
		fmt.Sprintf("%-20s: %s", "Duration", duration(j, now)),
		fmt.Sprintf("%-20s: %s", labelMessage, messageOf(j)),
	}
	if hint := hintOf(j); hint != "" {
		lines = append(lines, fmt.Sprintf("%-20s: %s", labelNext, hint))
	}
	for _, note := range notesOf(j) {
		lines = append(lines, fmt.Sprintf("%-20s: %s", "Note", note))
	}
	return lines
}

// notesOf is what a job does besides giving a new password, or instead of it. One
// that has not looked yet knows only what it was told.
func notesOf(j pam.Job) []string {
	if len(j.Notes) > 0 || j.Options.To != pam.Previous {
		return j.Notes
	}
	return []string{"it sets the previous password again"}
}

// messageOf is what a job says of itself, and who has what it left.
func messageOf(j pam.Job) string {
	switch {
	case j.Abandoned:
		return "what it left was given up; before that: " + j.Message
	case j.State == pam.JobOpen && j.Message == "":
		return "its process ended before the job did: what it changed stays, and what it stopped may stand still"
	}
	if j.State == pam.JobPartial && j.SupersededBy != "" {
		return "superseded by job " + string(j.SupersededBy) + "; before that: " + j.Message
	}
	return j.Message
}

// hintOf says what to do next about a job; "" is nothing. One that ended well and
// restarted nothing leaves that to somebody.
func hintOf(j pam.Job) string {
	if j.Abandoned {
		return ""
	}
	if j.State == pam.JobOpen && j.Hint == "" {
		return "keyturn pam action resume " + string(j.ID)
	}
	left := slices.ContainsFunc(j.Items, func(i pam.Item) bool { return i.Left != nil })
	switch partial := j.State == pam.JobPartial; {
	case partial && j.LeftStopped:
		return "keyturn pam action resume " + string(j.ID) + " starts what it left stopped"
	case j.SupersededBy != "" && (partial || left):
		return "keyturn pam action job-info " + string(j.SupersededBy) + " shows the job that took the place of this one"
	}
	if j.Hint == "" && j.State == pam.JobFinished && left {
		return "keyturn pam action restart " + string(j.ID) + " restarts what still runs with the old password"
	}
	return j.Hint
}

// duration shows how long a job took, or has been running, as H:MM:SS.micro.
func duration(j pam.Job, now time.Time) string {
	if j.Started.IsZero() {
		return clock(0)
	}
	end := j.Finished
	if end.IsZero() {
		end = now
	}
	return clock(max(0, end.Sub(j.Started)))
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%d:%02d:%02d.%06d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60, d.Microseconds()%1_000_000)
}

// jobListView is all jobs, one line each, and what is left of those that are not at
// a good end below them: a message is as long as it has to be.
func jobListView(jobs []pam.Job, now time.Time) output.View {
	t := output.Table{Header: []string{"Job ID", "Status", "Started (UTC)", "Duration", "User"}, Prose: []string{"User"}}
	csv := &output.Table{Header: []string{"Job ID", "Status", "User", "Account", "Started", "Duration", "Message"}}
	docs, left := []jobDocument{}, []string{}
	for _, j := range jobs {
		began := ""
		if !j.Started.IsZero() {
			began = j.Started.UTC().Format("2006-01-02 15:04")
		}
		whole, _, _ := strings.Cut(duration(j, now), ".")
		t.Rows = append(t.Rows, []string{string(j.ID), string(j.State), began, whole, j.UserTitle})
		csv.Rows = append(csv.Rows, []string{
			string(j.ID), string(j.State), j.UserTitle, j.AccountName, timestamp(j.Started), duration(j, now), messageOf(j),
		})
		docs = append(docs, documentOf(j))
		if (resumable(j) || displaced(j)) && messageOf(j) != "" {
			left = append(left, string(j.ID)+": "+messageOf(j))
		}
	}
	if len(left) > 0 {
		left = append([]string{""}, left...)
	}
	return output.View{Tables: []output.Table{t}, After: left, CSV: csv, Document: map[string]any{"jobs": docs}}
}

// jobView is a job with one line for each machine and dependency.
func jobView(j pam.Job, now time.Time) output.View {
	v := output.View{Before: jobBlock(j, now), Document: documentOf(j)}
	t := itemTable(j)
	if len(t.Rows) > 0 {
		v.Before = append(v.Before, "")
		v.Tables = []output.Table{t}
	}
	v.CSV = itemCSV(j.Items)
	v.Warnings = warningLines(j.Warnings)
	return v
}

// endOf is how a job ended, as a result and as the command's error. What the error
// says is not said twice to one reader: a pipe of either has the whole.
func (c *call) endOf(j pam.Job) (output.View, error) {
	v, err := jobView(j, c.Now()), ended(j)
	if err != nil && c.oneScreen {
		v.Before = slices.DeleteFunc(v.Before, func(line string) bool {
			return strings.HasPrefix(line, labelMessage+" ") || strings.HasPrefix(line, labelNext+" ")
		})
	}
	return v, err
}

func itemTable(j pam.Job) output.Table {
	t := output.Table{
		Header: []string{"Machine", "Kind", "Name", "Action", "Phase", "Status", "Detail"},
		Prose:  []string{"Kind", "Detail"},
	}
	for _, i := range j.Items {
		status := string(i.Status)
		if j.State == pam.JobRunning && i.Status == pam.StatusUnknown && underWay(i) {
			status = "under way"
		}
		t.Rows = append(t.Rows, []string{
			i.MachineTitle, i.Kind.Label(), i.Name, string(i.Action), string(i.Phase), status, detail(i),
		})
	}
	return t
}

// detail says in one cell what matters of an item: what went wrong, why it is
// skipped, or how its state moved.
func detail(i pam.Item) string {
	switch {
	case i.Error != nil && i.Error.Message != "":
		return i.Error.Class + ": " + i.Error.Message
	case i.Error != nil:
		return i.Error.Class
	case i.Reason != "":
		return reasonText(i.Reason)
	case i.Before.State != "" && i.After.State != "":
		return i.Before.State + " -> " + i.After.State
	default:
		return i.Before.State
	}
}

func itemCSV(items []pam.Item) *output.Table {
	t := &output.Table{Header: []string{
		"machine_uid", "machine", "kind", "name", "action", "phase", "status", "reason", "run_as", "state_before", "state_after", "error",
	}}
	for _, i := range items {
		class := ""
		if i.Error != nil {
			class = i.Error.Class
		}
		t.Rows = append(t.Rows, []string{
			string(i.Machine), i.MachineTitle, string(i.Kind), i.Name, string(i.Action), string(i.Phase), string(i.Status),
			i.Reason, i.Before.RunAs, i.Before.State, i.After.State, class,
		})
	}
	return t
}

func warningLines(warnings []string) []string {
	var lines []string
	for _, w := range warnings {
		lines = append(lines, "warning: "+w)
	}
	return lines
}

// planView is what a dry run shows; file is where it was written to, or "".
func planView(d planDocument, p pam.Plan, file string) output.View {
	t := output.Table{Header: []string{"Machine", "Kind", "Name", "State", "Action", "Reason"}, Prose: []string{"Kind", "Reason"}}
	for _, i := range p.Items {
		t.Rows = append(t.Rows, []string{
			i.MachineTitle, i.Kind.Label(), i.Name, i.Before.State, string(i.Action), reasonText(i.Reason),
		})
	}
	v := output.View{
		Before: []string{"Plan for " + p.AccountName + " (" + p.UserTitle + "): nothing has been changed"},
		Tables: []output.Table{t}, CSV: itemCSV(p.Items), Document: d,
	}
	for _, note := range p.Notes {
		v.Before = append(v.Before, "Note: "+note)
	}
	if p.Restart != "" && p.Restart != string(pam.RestartRunning) {
		v.Before = append(v.Before, "Restarts: "+p.Restart)
	}
	v.Before = append(v.Before, "")
	if file != "" {
		v.After = append(v.After, "", "Written to "+file+", "+d.Hash, "It runs with: keyturn pam action rotate --plan "+file)
	}
	v.Warnings = warningLines(p.Warnings)
	return v
}
