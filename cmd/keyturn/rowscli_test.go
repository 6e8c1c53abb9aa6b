package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
)

// TestRowsOnTheCommandLine plays the acceptance list with Windows as most sources
// describe it, and the rows that doubtful facts touch with each of those the other
// way too. A lab and a vault for a table: commands that look through all records
// stay fast.
func TestRowsOnTheCommandLine(t *testing.T) {
	t.Parallel()
	for name, table := range map[string][]cliRow{
		"identity": cliIdentityRows(), "names": cliNameRows(), "accounts": cliAccountRows(), "passwords": cliPasswordRows(),
		"services": cliServiceRows(), "refusals": cliRefusalRows(), "restarts": cliRestartRows(),
		"tasks": cliTaskRows(), "pools": cliPoolRows(), "places": cliPlaceRows(), "ways": cliWayRows(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			playOnTheCommandLine(t, table, false)
		})
		t.Run(name+" the other way", func(t *testing.T) {
			t.Parallel()
			playOnTheCommandLine(t, slices.DeleteFunc(slices.Clone(table), func(r cliRow) bool { return !r.doubt && r.other == nil }), true)
		})
	}
}

func playOnTheCommandLine(t *testing.T, rows []cliRow, away bool) {
	t.Helper()
	if len(rows) == 0 {
		return
	}
	var worlds []*rowWorld
	seen := map[string]int{}
	for _, r := range rows {
		id, _, _ := strings.Cut(r.name, " ")
		seen[id]++
		worlds = append(worlds, &rowWorld{row: r, id: id + strings.Repeat("x", seen[id]-1)})
	}
	newHall(t, worlds, away)
	for _, w := range worlds {
		t.Run(w.row.name, func(t *testing.T) {
			t.Parallel()
			w.run(t)
		})
	}
}

// What is usual: said of an item in the end, and what it is then.
const (
	cliRestarted = "restart=ok Running restarts=1 new"
	cliStays     = "update=ok/inactive Stopped restarts=0 new"
	cliWritten   = "update=ok/next_run Ready runs=0 new"
	cliNobody    = "look=skipped/nothing runs as the account" // of the machine
	cliRecycled  = "restart=noop/already_recycled Started recycles=1 new"
)

func startName(name string) func(s *model.ServiceSpec) {
	return func(s *model.ServiceSpec) { s.StartName = name }
}

func cliIdentityRows() []cliRow {
	spelt := func(name string, spelling func(sam string) string) cliRow {
		return cliRow{
			name: name, build: func(w *rowWorld) { w.svc("App", model.Running, startName(spelling(w.name))) },
			plan: map[string]string{"App": "update+restart"}, want: map[string]string{"App": cliRestarted},
		}
	}
	return []cliRow{
		spelt("I01 in another case", func(sam string) string { return `lab\` + strings.ToUpper(sam) }),
		spelt("I02 as a UPN", func(sam string) string { return sam + "@lab.example" }),
		spelt("I03 by its domain's DNS name", func(sam string) string { return `lab.example\` + sam }),
		{
			name: "I04 a task that is stored by SID", doubt: true, build: func(w *rowWorld) {
				w.task(`\T`, func(s *model.TaskSpec) { s.UserID = w.sid })
			},
			want: map[string]string{`\T`: cliWritten},
		},
		{
			name: "I05 a local twin is somebody else, and told of", build: func(w *rowWorld) {
				w.m.Local().Add(model.User{Sam: w.name, Password: plain(otherCanary)})
				w.svc("A", model.Running, func(s *model.ServiceSpec) { s.StartName, s.Password = `.\`+w.name, plain(otherCanary) })
				w.svc("B", model.Running, nil)
				w.task(`\Bare`, func(s *model.TaskSpec) { s.UserID, s.Password = w.name, plain(otherCanary) })
			},
			want: map[string]string{"A": "Running restarts=0 new", "B": cliRestarted, `\Bare`: "Ready runs=0 new"},
			says: []string{`I05: service "A" runs as .\svc_i05, another account of the same name`, `scheduled task "\\Bare" runs as svc_i05, another account`},
		},
		{
			name: "I06 a local account is not the domain's of the same name", where: where{login: `I06\svc_i06`, authority: "."},
			build: func(w *rowWorld) {
				w.hall.domain.Add(model.User{Sam: w.name, Password: plain(otherCanary)})
				w.svc("A", model.Running, nil)
				w.svc("B", model.Running, func(s *model.ServiceSpec) { s.StartName, s.Password = `LAB\`+w.name, plain(otherCanary) })
			},
			want: map[string]string{"A": cliRestarted, "B": "Running restarts=0 new"},
		},
		{
			name: "I07 on a domain controller a dot is the domain", where: where{spec: func(s *model.MachineSpec) { s.DC = true }},
			build: func(w *rowWorld) { w.svc("App", model.Running, startName(`.\`+w.name)) },
			plan:  map[string]string{"App": "update+restart"}, want: map[string]string{"App": cliRestarted},
		},
		{
			name: "I08 builtin accounts are nobody's, whatever Windows calls them", build: func(w *rowWorld) {
				w.m.AddService(model.ServiceSpec{Name: "Net", StartName: `NT-AUTORITÄT\NETZWERKDIENST`}, model.Running)
			},
			plan: map[string]string{"Net": ""}, want: map[string]string{"I08": cliNobody, "Net": "Running restarts=0"},
		},
		{
			name: "I09 LocalSystem is nobody's, and no name is LocalSystem", build: func(w *rowWorld) {
				w.m.AddService(model.ServiceSpec{Name: "Local", StartName: "LocalSystem"}, model.Running)
				w.m.AddService(model.ServiceSpec{Name: "Null"}, model.Running)
			},
			want: map[string]string{"I09": cliNobody, "Local": "Running restarts=0", "Null": "Running restarts=0"},
		},
		{
			name: "I10 virtual accounts are nobody's", build: func(w *rowWorld) {
				w.m.AddService(model.ServiceSpec{Name: "Own", StartName: `NT SERVICE\Own`}, model.Running)
				w.m.AddService(model.ServiceSpec{Name: "Another", StartName: `NT SERVICE\Nobody`}, model.Running)
				w.pool("Pool", func(s *model.PoolSpec) { s.IdentityType, s.UserName = model.PoolIdentityVirtual, "" })
			},
			want: map[string]string{"I10": cliNobody, "Own": "Running restarts=0", "Another": "Running restarts=0", "Pool": "Started recycles=0"},
		},
		{
			name: "I11 a managed account's is left alone", build: func(w *rowWorld) {
				w.svc("Group", model.Running, startName(`LAB\gapp$`))
				w.svc("Flagged", model.Running, func(s *model.ServiceSpec) { s.Managed = true })
			},
			plan: map[string]string{"Flagged": "skip managed_account"},
			want: map[string]string{"Group": "Running restarts=0", "Flagged": "look=skipped/managed_account Running restarts=0 old"},
		},
		{
			name: "I12 a managed account is not rotated", where: where{sam: "gapp$", foreign: true},
			build: func(w *rowWorld) { w.svc("App", model.Running, nil) },
			code:  1, want: map[string]string{"App": "Running restarts=0"}, says: []string{"managed_account", "nothing changed"},
		},
	}
}

func cliNameRows() []cliRow {
	named := func(name, sam string) cliRow {
		return cliRow{
			name: name, where: where{sam: sam}, build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.task(`\T`, nil)
				w.pool("P", func(s *model.PoolSpec) { s.UserName = strings.ToUpper(w.login) })
			},
			want: map[string]string{"App": cliRestarted, `\T`: cliWritten, "P": cliRecycled},
		}
	}
	const cloud = "S-1-12-1-1111111111-2222222222-3333333333-444444444"
	return []cliRow{
		named("I13 a dollar inside is an ordinary user's", "svc$app"),
		named("I14 an apostrophe and a space", "o'brien svc"),
		named("I15 letters outside ASCII", "szolgáltatás-ő"), named("I15 Cyrillic letters", "служба"),
		{
			name: "I16 an orphan SID is nobody", build: func(w *rowWorld) {
				w.task(`\T`, func(s *model.TaskSpec) { s.UserID = "S-1-5-21-9-9-9-1234" })
			},
			plan: map[string]string{`\T`: ""}, want: map[string]string{"I16": cliNobody, `\T`: "Ready runs=0 old"},
		},
		{
			name: "I17 without a domain controller the name decides", where: where{ownAdmin: true}, build: func(w *rowWorld) {
				w.svc("Same", model.Running, nil)
				w.svc("Like", model.Running, startName(`OLD\`+w.name))
				w.m.LoseDomain()
			},
			plan: map[string]string{"Same": "update+restart", "Like": "skip ambiguous_identity"},
			code: 6,
			want: map[string]string{
				"Same": "update=pending/no_logon_server Running restarts=0 old", "Like": "look=skipped/ambiguous_identity Running restarts=0",
			},
			says: []string{"no_logon_server"},
		},
		{
			name: "I18 a name that only resembles is never acted on", build: func(w *rowWorld) {
				w.svc("A", model.Running, nil)
				w.svc("Like", model.Running, func(s *model.ServiceSpec) { s.StartName, s.DependsOn = `OLD\`+w.name, []string{"A"} })
				w.task(`\Like`, func(s *model.TaskSpec) { s.UserID = `OLD\` + w.name })
			},
			plan: map[string]string{"A": "update dependents_blocked: Like"},
			want: map[string]string{
				"A":    "restart=skipped/dependents_blocked: Like Running restarts=0 new",
				"Like": "look=skipped/ambiguous_identity Running restarts=0", `\Like`: "look=skipped/ambiguous_identity Ready runs=0",
			},
		},
		{
			name: "I19 a renamed account is found by its SID", build: func(w *rowWorld) {
				w.svc("App", model.Running, startName(`LAB\svc_before`))
				w.m.NameAs(`LAB\svc_before`, model.Named{SID: w.sid, Account: w.login})
			},
			want: map[string]string{"App": cliRestarted},
		},
		{
			name: "I20 a cloud account is known and refused", where: where{login: `AzureAD\anna`, sam: "anna", authority: ".", foreign: true},
			build: func(w *rowWorld) {
				w.m.NameAs(`AzureAD\anna`, model.Named{SID: cloud, Account: `AzureAD\anna`})
				w.svc("App", model.Running, nil)
			},
			code: 1, want: map[string]string{"App": "Running restarts=0 old"}, says: []string{"nothing changed"},
		},
	}
}

// cliAccountRows are about the account, where its password is decided.
func cliAccountRows() []cliRow {
	app := func(w *rowWorld) { w.svc("App", model.Running, nil) }
	restarted := map[string]string{"App": cliRestarted}
	untouched := map[string]string{"App": "Running restarts=0 new"}
	seen := map[string]string{"App": "look=pending Running restarts=0 new"}
	directory := where{authority: "LAB"}
	account := func(w *rowWorld, change func(u *model.User)) {
		app(w)
		w.sam.Configure(w.name, change)
	}
	unchanged := func(w *rowWorld) {
		if n := w.changes(); n != 0 {
			w.t.Errorf("the password was set %d times", n)
		}
	}
	return []cliRow{
		{name: "A01 the directory sets the password", where: directory, build: app, want: restarted},
		{
			name: "A02 the directory's policy refuses it", where: where{authority: "LAB", rules: "8,1,1,1,0"}, build: app,
			code: 1, late: true, want: seen, says: []string{"0000052D", "nothing changed"}, then: unchanged,
		},
		{
			name: "A03 a directory without TLS is refused when it is saved", where: where{unmapped: true}, play: func(w *rowWorld) {
				_, stderr := w.do(1, "record-add", "-rt", "pamDirectory", "-t", "OPEN", "pamHostname=dc01:389", "directoryType=active_directory",
					"c.text.transport=ldap")
				if !strings.Contains(stderr, "neither ldaps nor starttls; nothing was saved") {
					w.t.Error(stderr)
				}
			},
		},
		{
			name: "A04 an admin without the right", where: where{authority: "HELPED"}, build: app,
			code: 1, late: true, want: seen, says: []string{"access_denied", "nothing changed"}, then: unchanged,
		},
		{
			name: "A05 an account that must change its password is refused", where: directory,
			build: func(w *rowWorld) { account(w, func(u *model.User) { u.MustChange = true }) },
			code:  1, want: untouched, says: []string{"must change its password", "nothing changed"}, then: unchanged,
		},
		{
			name: "A06 an account that is locked out is refused, unless it may be unlocked", doubt: true, where: directory,
			build: func(w *rowWorld) { account(w, func(u *model.User) { u.Locked = true }) },
			code:  1, want: map[string]string{"App": "Running restarts=0 old"}, says: []string{"locked out", "--unlock", "nothing changed"},
			then: func(w *rowWorld) {
				unchanged(w)
				w.rotate(0, "--unlock")
				w.check(restarted)
			},
		},
		{
			name: "A07 no wrong password is to spare: a warning, and one refusal is the last", doubt: true, build: func(w *rowWorld) {
				app(w)
				w.task(`\T`, nil)
				for range 3 - map[bool]int{true: 1}[w.hall.away] { // each counts twice then
					_ = w.hall.domain.Bind(w.sid, plain("a guess"))
				}
				w.m.Lag()
			},
			code: 6, refused: 1,
			want: map[string]string{
				"App": "update=pending/credential_rejected Running restarts=0 old", `\T`: "update=pending/credential_rejected Ready runs=0 old",
			},
			says: []string{"locks after 5 wrong passwords and"},
		},
		{
			name: "A09 a local account whose password is known is changed, not reset", doubt: true, where: where{login: `.\svc_a09`, authority: "."},
			build: app, want: restarted, then: func(w *rowWorld) {
				if code := w.sam.Reset(w.name, plain(otherCanary)); code != model.OK { // behind the vault's back
					w.t.Fatal(code)
				}
				w.rotate(7)
				if !w.sam.Matches(w.name, plain(otherCanary)) {
					w.t.Error("it was reset although the vault's password was wrong")
				}
				w.do(0, "record-update", "-r", w.record(), "password=@"+w.hall.file(w.t, w.id+".found", otherCanary))
			},
		},
		{
			name: "A10 a local account whose password nobody knows is reset only when told to", where: where{login: `.\svc_a10`, authority: ".", unknown: true},
			build: app,
			code:  1, want: untouched, says: []string{"--allow-reset", "nothing changed"}, then: func(w *rowWorld) {
				unchanged(w)
				w.row.where.unknown = false
				w.rotate(0, "--allow-reset")
				w.check(restarted)
			},
		},
		{
			name: "A11 the account that logs in to the machines is refused", where: where{sam: "admin", password: adminCanary},
			build: app, code: 1, want: untouched, says: []string{"is the account that logs in", "nothing changed"}, then: unchanged,
		},
	}
}

// cliPasswordRows give the account a password through everything that stores one:
// the one it had, which a rotation takes back after another.
func cliPasswordRows() []cliRow {
	back := func(name, password string) cliRow {
		return cliRow{
			name: name, where: where{password: password}, build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.pool("P", nil)
				if len([]rune(password)) <= 127 {
					w.task(`\T`, nil)
				}
			},
			play: func(w *rowWorld) {
				w.rotate(0)
				w.rotate(0, "--to", "previous")
				want := map[string]string{"App": "restart=ok Running restarts=2 new", "P": "restart=noop/already_recycled Started recycles=2 new"}
				if len([]rune(password)) <= 127 {
					want[`\T`] = cliWritten
				}
				w.check(want)
				w.sameTwice()
				if !w.sam.Matches(w.name, plain(password)) {
					w.t.Error("the password is not what it was, letter by letter")
				}
			},
		}
	}
	return []cliRow{
		back("P01 quotes of every sort", "a\"b'c\u2018\u2019\u201a\u201b\u201c;Stop-Computer;#canary"),
		back("P02 what shells make something of", "`$x $(y) %PATH% ^& | < > ! canary"),
		back("P03 127 characters", strings.Repeat("aB3-canary;", 11)+"123456"),
		back("P04 256 characters, and no task", strings.Repeat("aB3-canary;'\"é", 18)+"1234"),
		back("P05 beyond the basic plane, and combining", "\U0001F511e\u0301\U00010348-canary"),
		back("P06 space around", "  canary  "),
		back("P08 what looks like the frame", `{"a":1}.,#WSX canary==.,e30=`),
		{
			name: "P04 128 characters are too many for a task", where: where{rules: "128,4,4,4,4"}, build: func(w *rowWorld) {
				w.svc("App", model.Running, nil)
				w.task(`\T`, nil)
			},
			code: 1, want: map[string]string{"App": "Running restarts=0 new", `\T`: "Ready runs=0 new"},
			says: []string{`too long for the scheduled task \T`, "nothing changed"},
		},
		{
			name: "P07 what no target takes is refused when it is saved", play: func(w *rowWorld) {
				for n, bad := range []string{"a\nb-canary", "a\x00b-canary", "a\x1bb-canary", "a\u0085b-canary", "a\xed\xa0\xbdb-canary", "a\xffb-canary"} {
					_, stderr := w.do(1, "record-update", "-r", w.record(), "password=@"+w.hall.file(w.t, fmt.Sprintf("bad%d", n), bad))
					if !strings.Contains(stderr, "; nothing was saved") {
						w.t.Errorf("%q: %s", bad, stderr)
					}
				}
			},
		},
	}
}
