package discover

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
)

const (
	svcSID   = "S-1-5-21-1-1104"
	otherSID = "S-1-5-21-1-1105"
	localSID = "S-1-5-21-9-1001"
	guid     = "11111111-2222-3333-4444-555555555555"
)

func uid(c string) pam.UID { return pam.UID(strings.Repeat(c, 22)) }

func domain(sid, name string) pam.Owner {
	return pam.Owner{SID: sid, Name: name, Class: "user", Scope: "domain"}
}

func service(runAs string, o pam.Owner) pam.FoundItem {
	return pam.FoundItem{Kind: pam.KindService, Name: "App", RunAs: runAs, Owner: o}
}

// svc is the one rotated user of the rows: LAB\svc, a domain account.
func svc() pam.Discovery {
	return pam.Discovery{Users: []pam.IdentifiedUser{{User: uid("U"), Identity: pam.Identity{Alias: svcSID, SID: svcSID, Name: `LAB\svc`}}}}
}

func TestProposals(t *testing.T) {
	t.Parallel()
	known := []Known{{uid("U"), `LAB\svc`}, {uid("N"), `LAB\extra`}}
	task := func(skip string) pam.FoundItem {
		return pam.FoundItem{Kind: pam.KindTask, Name: `\T`, RunAs: `LAB\svc`, Owner: domain(svcSID, `LAB\svc`), Skip: skip}
	}
	local := pam.Owner{SID: localSID, Name: `SRV1\svc`, Class: "user", Scope: "local"}
	localUser := func(d pam.Discovery, home string) pam.Discovery {
		d.Users = append(d.Users, pam.IdentifiedUser{User: uid("L"), Identity: pam.Identity{Alias: home + "/" + localSID, SID: localSID}})
		return d
	}
	twice := svc()
	twice.Users = append(twice.Users, pam.IdentifiedUser{User: uid("V"), Identity: pam.Identity{Alias: svcSID}})
	asked := svc()
	asked.Users = append(asked.Users, pam.IdentifiedUser{User: uid("N"), Problem: "down"})
	elsewhere := svc()
	elsewhere.Users = append(elsewhere.Users, pam.IdentifiedUser{User: uid("N"), Identity: pam.Identity{Alias: "S-1-5-21-7-1"}})
	for _, c := range []struct {
		name      string
		discovery pam.Discovery
		admin     string
		items     []pam.FoundItem
		mapped    []pam.Mapping
		want      string
	}{
		{"the same SID, spelled otherwise", svc(), "", []pam.FoundItem{service("svc@lab.example", domain(svcSID, `LAB\svc`))}, nil, "U service"},
		{"a SID in other letters is the same", svc(), "", []pam.FoundItem{service("x", domain(strings.ToLower(svcSID), `LAB\svc`))}, nil, "U service"},
		{"two kinds of one account are one proposal", svc(), "", []pam.FoundItem{service("a", domain(svcSID, `LAB\svc`)), task("")}, nil, "U service task"},
		{
			"what is mapped is not proposed again", svc(), "",
			[]pam.FoundItem{service("a", domain(svcSID, `LAB\svc`)), task("")},
			[]pam.Mapping{{User: uid("U"), Machine: uid("M"), Kinds: pam.MapServices}},
			"U task",
		},
		{
			"all is mapped", svc(), "",
			[]pam.FoundItem{service("a", domain(svcSID, `LAB\svc`))},
			[]pam.Mapping{{User: uid("U"), Machine: uid("M"), Kinds: pam.MapAll}},
			"mapped U",
		},
		{
			"a mapping elsewhere does not count", svc(), "",
			[]pam.FoundItem{service("a", domain(svcSID, `LAB\svc`))},
			[]pam.Mapping{{User: uid("U"), Machine: uid("X"), Kinds: pam.MapAll}},
			"U service",
		},
		{"a task without a password justifies nothing", svc(), "", []pam.FoundItem{task("no_stored_password")}, nil, "no_stored_password U"},
		{"and adds nothing", svc(), "", []pam.FoundItem{service("a", domain(svcSID, `LAB\svc`)), task("no_stored_password")}, nil, "U service"},
		{"the local account of the same name is another's", svc(), "", []pam.FoundItem{service(`.\svc`, local)}, nil, "unknown_account"},
		{"a local account of this machine", localUser(svc(), guid), "", []pam.FoundItem{service(`.\svc`, local)}, nil, "L service"},
		{"cloned machines share SIDs: one of another machine", localUser(svc(), "other"), "", []pam.FoundItem{service(`.\svc`, local)}, nil, "unknown_account"},
		{"the same name, and a SID of nobody", svc(), "", []pam.FoundItem{service("a", domain(otherSID, `LAB\svc`))}, nil, "unknown_account"},
		{"a record without rotation settings", svc(), "", []pam.FoundItem{service("a", domain(otherSID, `lab\EXTRA`))}, nil, "no_rotation_settings N"},
		{"a record whose authority did not answer", asked, "", []pam.FoundItem{service("a", domain(otherSID, `LAB\extra`))}, nil, "not_identified N"},
		{"a record that names another account of that name", elsewhere, "", []pam.FoundItem{service("a", domain(otherSID, `LAB\extra`))}, nil, "unknown_account"},
		{"two records of one account", twice, "", []pam.FoundItem{service("a", domain(svcSID, `LAB\svc`))}, nil, "several_records U V"},
		{
			"two records, and one is mapped there", twice, "",
			[]pam.FoundItem{service("a", domain(svcSID, `LAB\svc`)), task("")},
			[]pam.Mapping{{User: uid("V"), Machine: uid("M"), Kinds: pam.MapServices}},
			"V task",
		},
		{"nobody resolves a name like a record's", svc(), "", []pam.FoundItem{service(`OLD\SVC`, pam.Owner{Class: "unresolved"})}, nil, "ambiguous_identity U"},
		{"not even the very same name", svc(), "", []pam.FoundItem{service(`LAB\svc`, pam.Owner{Class: "unresolved"})}, nil, "ambiguous_identity U"},
		{"nobody resolves a name like nobody's", svc(), "", []pam.FoundItem{service(`OLD\gone`, pam.Owner{Class: "unresolved"})}, nil, "unresolved"},
		{
			"a managed account", svc(), "",
			[]pam.FoundItem{service(`LAB\gapp$`, pam.Owner{SID: svcSID, Name: `LAB\gapp$`, Class: "managed"})},
			nil,
			"managed_account",
		},
		{
			"managed for one service and not for the other", svc(), "", []pam.FoundItem{
				service("a", pam.Owner{SID: svcSID, Name: `LAB\svc`, Class: "managed", Scope: "domain"}), service("b", domain(svcSID, `LAB\svc`)),
			}, nil, "U service; managed_account",
		},
		{"the account that is logged in there", svc(), `lab\SVC`, []pam.FoundItem{service("a", domain(svcSID, `LAB\svc`))}, nil, "admin_account U"},
		{
			"what could not be read", svc(), "", []pam.FoundItem{{Kind: pam.KindTask, Name: `\`, Skip: "task_service_down"}}, nil, "unreadable",
		},
		{"nothing", svc(), "", nil, nil, ""},
	} {
		f := pam.Finding{Machine: uid("M"), Title: "SRV1", MachineID: guid, Admin: c.admin, Items: c.items}
		proposals, left := Propose(c.discovery, []pam.Finding{f}, known, c.mapped)
		if got := told(proposals, left); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// told writes down what was proposed and left, without the machine.
func told(proposals []Proposal, left []Leftover) string {
	var words []string
	for _, p := range proposals {
		words = append(words, string(p.User[:1])+" "+strings.Join(p.Kinds.Types(), " "))
	}
	for _, l := range left {
		text := string(l.Reason)
		for _, u := range l.Candidates {
			text += " " + string(u[:1])
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

func TestTwoRecordsOfOneMachineAreMappedOnce(t *testing.T) {
	t.Parallel()
	items := []pam.FoundItem{service("a", domain(svcSID, `LAB\svc`))}
	findings := []pam.Finding{
		{Machine: uid("B"), Title: "srv1 (again)", MachineID: guid, Items: items},
		{Machine: uid("A"), Title: "SRV1", MachineID: guid, Items: items},
		{Machine: uid("C"), Title: "SRV2", MachineID: "", Items: items},
		{Machine: uid("D"), Title: "SRV3", MachineID: "", Items: items},
	}
	proposals, left := Propose(svc(), findings, nil, nil)
	if len(proposals) != 3 || proposals[0].Machine != uid("A") || len(left) != 1 || left[0].Machine != uid("B") || left[0].Reason != ReasonTwin {
		t.Errorf("proposed %+v\nleft %+v", proposals, left)
	}
	// A mapping of the twin's record counts.
	mapped := []pam.Mapping{{User: uid("U"), Machine: uid("B"), Kinds: pam.MapAll}}
	if proposals, _ = Propose(svc(), findings[:2], nil, mapped); len(proposals) != 0 {
		t.Errorf("proposed %+v", proposals)
	}
}

// Whatever is found: every item is accounted for once, and nothing is proposed
// whose SID is not the user's.
func TestProposalsAreOfTheUsersOwnIdentity(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sids := []string{"", svcSID, otherSID, localSID}
		users := []pam.IdentifiedUser{}
		alias := map[pam.UID]string{}
		for n := range rapid.IntRange(0, 4).Draw(t, "users") {
			a := rapid.SampledFrom([]string{"", svcSID, otherSID, guid + "/" + localSID, "g2/" + localSID}).Draw(t, "alias")
			u := uid(fmt.Sprint(n))
			alias[u] = a
			users = append(users, pam.IdentifiedUser{User: u, Identity: pam.Identity{Alias: a}})
		}
		var findings []pam.Finding
		items := 0
		for n := range rapid.IntRange(0, 3).Draw(t, "machines") {
			f := pam.Finding{Machine: uid(string(rune('A' + n))), MachineID: rapid.SampledFrom([]string{guid, "g2", ""}).Draw(t, "guid")}
			for i := range rapid.IntRange(0, 4).Draw(t, "items") {
				f.Items = append(f.Items, pam.FoundItem{
					Kind: rapid.SampledFrom(kinds()).Draw(t, "kind"), Name: fmt.Sprint(i), RunAs: rapid.SampledFrom([]string{`LAB\svc`, "svc", ""}).Draw(t, "run as"),
					Skip: rapid.SampledFrom([]string{"", "no_stored_password"}).Draw(t, "skip"),
					Owner: pam.Owner{
						SID: rapid.SampledFrom(sids).Draw(t, "sid"), Name: `LAB\svc`, Class: rapid.SampledFrom([]string{"user", "managed", "unresolved"}).Draw(t, "class"),
						Scope: rapid.SampledFrom([]string{"domain", "local", ""}).Draw(t, "scope"),
					},
				})
				items++
			}
			findings = append(findings, f)
		}
		known := []Known{{uid("0"), `LAB\svc`}, {uid("1"), "svc"}}
		proposals, left := Propose(pam.Discovery{Users: users}, findings, known, nil)
		for _, p := range proposals {
			f := findings[slices.IndexFunc(findings, func(f pam.Finding) bool { return f.Machine == p.Machine })]
			for _, i := range p.Items {
				if want := alias[p.User]; want == "" || i.Owner.SID == "" || i.Owner.Class != "user" || i.Skip != "" ||
					(want != i.Owner.SID && want != f.MachineID+"/"+i.Owner.SID) {
					t.Errorf("%+v is proposed for %s (%s)", i, p.User, want)
				}
			}
		}
		n := 0
		for _, l := range left {
			n += len(l.Items)
		}
		for _, p := range proposals {
			n += len(p.Items)
		}
		if n > items {
			t.Errorf("%d items are accounted for, there are %d", n, items)
		}
	})
}
