package pam

import "time"

// A Discovery is one look at who runs what, on one machine or many, as the vault
// remembers it. It asks and changes nothing; what it found is kept by machine.
type Discovery struct {
	ID             UID       `json:"id"`
	Gateway        UID       `json:"gateway"`
	Configurations []UID     `json:"configurations"` // whose machines and users it is about
	Scope          string    `json:"scope"`          // what was looked at, in words
	State          JobState  `json:"state"`          // running, finished, partial, failed or cancelled
	Machines       int       `json:"machines"`
	Started        time.Time `json:"started"`
	Finished       time.Time `json:"finished"`
	Processed      time.Time `json:"processed"` // when its proposals were last applied
	// Users are who the users' accounts are, as their authorities said: what was
	// found is compared with these.
	Users []IdentifiedUser `json:"users"`
}

// An IdentifiedUser is a pamUser record and which account it names; Problem says
// why that is not known.
type IdentifiedUser struct {
	User     UID      `json:"user"`
	Identity Identity `json:"identity"`
	Problem  string   `json:"problem,omitempty"`
}

// A Finding is what a discovery saw on one machine, or why it saw nothing.
type Finding struct {
	Machine   UID         `json:"machine"`
	Title     string      `json:"title"`
	MachineID string      `json:"machine_id,omitempty"` // two records of one machine share it
	Admin     string      `json:"admin,omitempty"`      // who was logged in, as the machine spells it
	Seen      time.Time   `json:"seen"`
	Items     []FoundItem `json:"items"`
	Warnings  []string    `json:"warnings,omitempty"`
	Failure   Kind        `json:"failure,omitempty"`
	Message   string      `json:"message,omitempty"`
	Hint      string      `json:"hint,omitempty"`
}

// A FoundItem is something that runs as an account with a password, or as one
// that its machine does not know.
type FoundItem struct {
	Kind  DependencyKind `json:"kind"`
	Name  string         `json:"name"`
	RunAs string         `json:"run_as"`          // as it is stored
	Owner Owner          `json:"owner"`           // as the machine resolves it
	State string         `json:"state,omitempty"` // when it was seen
	Skip  string         `json:"skip,omitempty"`  // why a rotation would not update it: an error class
}

// An Owner is an account as a machine resolves a run-as name.
type Owner struct {
	SID   string `json:"sid,omitempty"`
	Name  string `json:"name,omitempty"`  // DOMAIN\sam
	Class string `json:"class,omitempty"` // user, managed or unresolved
	Scope string `json:"scope,omitempty"` // domain, local or entra
}
