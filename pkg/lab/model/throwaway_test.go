package model_test

import (
	"strings"
	"testing"
)

// What a script makes of its own behaves as what was there before, and goes.
func TestThrowawayObjects(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, 1)
	m := f.Servers[0]
	before := m.View()
	ask := serve(t, m)
	rows := []struct{ name, request, want string }{
		{"an account is made", `{"call":"user.add","user":"me","password":"Throw-away-1"}`, `{"code":0}`},
		{"once", `{"call":"user.add","user":"ME","password":"Throw-away-1"}`, `{"code":2224}`},
		{"by the policy", `{"call":"user.add","user":"you","password":"x"}`, `{"code":2245}`},
		{"it logs on over the network", `{"call":"logon","user":"me","domain":"SRV1","password":"Throw-away-1","type":3}`, `{"code":0}`},
		{"and has no right to more", `{"call":"logon","user":"me","domain":"SRV1","password":"Throw-away-1","type":5}`, `{"code":1385}`},
		{"until it gets it", `{"call":"right.add","sid":"SID","name":"SeServiceLogonRight"}`, `{"code":0}`},
		{"and logs on as a service", `{"call":"logon","user":"me","domain":"SRV1","password":"Throw-away-1","type":5}`, `{"code":0}`},
		{"but not as a job", `{"call":"logon","user":"me","domain":"SRV1","password":"Throw-away-1","type":4}`, `{"code":1385}`},
		{"a right that nobody knows", `{"call":"right.add","sid":"SID","name":"SeFly"}`, `{"code":1313}`},
		{"a password that must change", `{"call":"user.mustchange","user":"me","flags":1}`, `{"code":0}`},
		{"does not log on", `{"call":"logon","user":"me","domain":"SRV1","password":"Throw-away-1","type":3}`, `{"code":1907}`},
		{"until it need not", `{"call":"user.mustchange","user":"me","flags":0}`, `{"code":0}`},
		{"nobody's flag", `{"call":"user.mustchange","user":"nobody","flags":1}`, `{"error":2221}`},
		{"a service is made", `{"call":"service.add","name":"Mine","startName":".\\me","password":"Throw-away-1"}`, `{"code":0}`},
		{"once", `{"call":"service.add","name":"mine","startName":".\\me","password":"Throw-away-1"}`, `{"code":1073}`},
		{"for somebody", `{"call":"service.add","name":"Other","startName":".\\nobody","password":"x"}`, `{"code":1057}`},
		{"it starts", `{"call":"service.control","name":"Mine","verb":"start"}`, `{}`},
		{"a task that is not there does not run", `{"call":"task.run","path":"\\mine"}`, `{"hresult":2147942402}`},
		{"the task goes", `{"call":"task.delete","path":"\\mine"}`, `{}`},
		{"the service goes", `{"call":"service.delete","name":"Mine"}`, `{}`},
		{"once", `{"call":"service.delete","name":"Mine"}`, `{"error":1060}`},
		{"no log", `{"call":"log","name":"System"}`, `{"error":15007}`},
		{"the account goes", `{"call":"user.delete","user":"me"}`, `{"code":0}`},
		{"once", `{"call":"user.delete","user":"me"}`, `{"error":2221}`},
	}
	for _, r := range rows {
		request := r.request
		if u, ok := m.Local().User("me"); ok {
			request = strings.Replace(request, "SID", u.SID, 1)
		}
		if got := ask(request); !strings.Contains(got, r.want) {
			t.Errorf("%s: %s\n got %s\nwant %s", r.name, r.request, got, r.want)
		}
	}
	if after := m.View(); len(after.Services) != len(before.Services) || len(after.Pools) != len(before.Pools) {
		t.Errorf("left behind: %+v", after)
	}
}
