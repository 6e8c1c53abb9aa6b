package script_test

import (
	"strings"
	"testing"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

const written = "update=ok Ready runs=0 new"

func TestScheduledTasks(t *testing.T) {
	t.Parallel()
	together(t, taskRows())
	t.Run("K14 without the batch right it is written all the same, and said so", row{"", nil, func(w *world) {
		w.task(`\T`, nil)
		w.m.Restrict(w.sid, model.LogonBatch, model.LogonTypeNotGranted)
	}, map[string]string{`\T`: "update=ok held=right_missing Ready runs=0 new"}}.run)
}

func TestK20WithoutTheTaskServiceTheRestIsDone(t *testing.T) {
	t.Parallel()
	both(t, nil, func(w *world) {
		w.task(`\T`, nil)
		w.svc("A", model.Running, nil)
		w.pool("P", nil)
		w.m.StopTaskService()
		w.rotate()
		w.check(map[string]string{
			`\T`: "Ready runs=0 old", "A": restarted, "P": "update=ok restart=noop/already_recycled Started recycles=1 new",
		})
		if w.skips[`\`] != powershell.ClassTaskServiceDown {
			w.t.Errorf("nobody is told that the tasks could not be read: %q", w.skips)
		}
	})
}

// taskXML is a task whose definition is not the usual one.
func taskXML(path, principals, triggers, actions string) func(t *model.TaskSpec) {
	return func(t *model.TaskSpec) {
		t.XML = `<?xml version="1.0" encoding="UTF-16"?>` + "\r\n" +
			`<Task version="1.4" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">` +
			"<RegistrationInfo><URI>" + strings.ReplaceAll(path, "&", "&amp;") + "</URI></RegistrationInfo><Triggers>" + triggers + "</Triggers>" +
			"<Principals>" + principals + "</Principals><Settings><Hidden>false</Hidden></Settings>" + actions + "</Task>"
	}
}

const (
	principalT = `<Principal id="Author"><UserId>CORP\svc_app</UserId><LogonType>Password</LogonType></Principal>`
	principalS = `<Principal id="System"><UserId>S-1-5-18</UserId></Principal>`
	execAction = `<Exec><Command>C:\job.exe</Command></Exec>`
)

func taskRows() []row {
	logon := func(l string) func(t *model.TaskSpec) { return func(t *model.TaskSpec) { t.LogonType = l } }
	return []row{
		{"K01 K02 tasks are registered again, wherever they are", nil, func(w *world) {
			w.task(`\K01`, nil)
			w.task(`\A\B C\täglich`, nil)
		}, map[string]string{`\K01`: written, `\A\B C\täglich`: written}},
		{"K03 K04 what stores no password is left", nil, func(w *world) {
			w.task(`\K03`, logon("S4U"))
			w.task(`\K04`, logon("InteractiveToken"))
			w.task(`\K04g`, func(s *model.TaskSpec) { s.LogonType, s.UserID = "Group", `BUILTIN\Users` })
		}, map[string]string{
			`\K03`: "skip=no_stored_password Ready runs=0", `\K04`: "skip=no_stored_password Ready runs=0", `\K04g`: "Ready runs=0",
		}},
		{
			"K05 interactive or password stays so", nil, func(w *world) { w.task(`\K05`, logon("InteractiveTokenOrPassword")) },
			map[string]string{`\K05`: written},
		},
		{
			"K06 a disabled task stays disabled", nil, func(w *world) { w.task(`\K06`, func(s *model.TaskSpec) { s.Disabled = true }) },
			map[string]string{`\K06`: "update=ok Disabled runs=0 new"},
		},
		{
			"K07 a running instance is left alone", nil, func(w *world) { w.task(`\K07`, func(s *model.TaskSpec) { s.Running = 1 }) },
			map[string]string{`\K07`: "update=ok Running runs=0 new"},
		},
		{
			"K08 a registration trigger does not start it", nil, func(w *world) { w.task(`\K08`, func(s *model.TaskSpec) { s.Registration = true }) },
			map[string]string{`\K08`: written},
		},
		{
			"K09 a hidden task is found", nil, func(w *world) { w.task(`\K09`, func(s *model.TaskSpec) { s.Hidden = true }) },
			map[string]string{`\K09`: written},
		},
		{"K10 whom a trigger names is not who runs it", nil, func(w *world) {
			w.task(`\K10`, taskXML(`\K10`, principalS, `<LogonTrigger><UserId>CORP\svc_app</UserId></LogonTrigger>`, `<Actions Context="System">`+execAction+`</Actions>`))
		}, map[string]string{`\K10`: "Ready runs=0"}},
		{"K11 of two principals the one that the actions name decides", nil, func(w *world) {
			w.task(`\K11`, taskXML(`\K11`, principalS+principalT, "", `<Actions Context="Author">`+execAction+`</Actions>`))
			w.task(`\K11b`, taskXML(`\K11b`, principalT+principalS, "", `<Actions Context="System">`+execAction+`</Actions>`))
		}, map[string]string{`\K11`: written, `\K11b`: "Ready runs=0"}},
		{
			"K15 a managed account's task is left", nil, func(w *world) { w.task(`\K15`, func(s *model.TaskSpec) { s.UserID = `CORP\gapp$` }) },
			map[string]string{`\K15`: "Ready runs=0"},
		},
		{
			"K16 a descriptor of its own stays", nil, func(w *world) {
				w.task(`\K16`, func(s *model.TaskSpec) { s.Descriptor = "O:BAD:PAI(A;;FA;;;BA)(D;;FW;;;WD)" })
			},
			map[string]string{`\K16`: written},
		},
		{"K17 actions of every kind stay byte for byte", nil, func(w *world) {
			w.task(`\K17`, taskXML(`\K17`, principalT, "", `<Actions Context="Author"><ComHandler><ClassId>{F0001111-0000-0000-0000-0000FEEDACDC}</ClassId>`+
				"<Data><![CDATA[<x>&amp; \u00fc\r\n</x>]]></Data></ComHandler><SendEmail><Server>mail</Server><Subject>d&#xF6;ne &lt;b&gt;</Subject></SendEmail></Actions>"))
		}, map[string]string{`\K17`: written}},
		{"K19 names with quotes and per cent signs are names", nil, func(w *world) {
			w.task(`\Nightly 100% 'x'`, nil)
			w.task(`\[a]*&`+"`"+`$(b)\%PATH%`, nil)
		}, map[string]string{`\Nightly 100% 'x'`: written, `\[a]*&` + "`" + `$(b)\%PATH%`: written}},
	}
}
