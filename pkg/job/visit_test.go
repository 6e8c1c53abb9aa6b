package job

import (
	"errors"
	"strings"
	"testing"

	"keyturn/pkg/dependency"
	"keyturn/pkg/executor"
	"keyturn/pkg/pam"
)

func look(m executor.Machine) executor.Request {
	return executor.Look{Machine: m, Look: dependency.LookRequest{Everyone: true}}
}

func TestAVisitCostsOneFailedLogIn(t *testing.T) {
	t.Parallel()
	sc := newScene(3, true)
	sc.world.adminBad = true
	visit := sc.engine().Visit()
	for _, m := range []string{"1", "2", "3"} {
		if _, err := visit.AtMachine(t.Context(), uid(m), look); !errors.Is(err, pam.ErrAuthFailed) || !strings.Contains(err.Error(), "SRV"+m) {
			t.Errorf("SRV%s: %v", m, err)
		}
	}
	if _, err := visit.Identify(t.Context(), uid("U")); !errors.Is(err, pam.ErrAuthFailed) {
		t.Errorf("identify: %v", err)
	}
	if sc.world.adminTry != 1 {
		t.Errorf("%d log-ins failed", sc.world.adminTry)
	}
}

func TestAVisitNamesTheMachineThatIsDown(t *testing.T) {
	t.Parallel()
	sc := newScene(1, true)
	sc.world.hosts[uid("1")].down = true
	_, err := sc.engine().Visit().AtMachine(t.Context(), uid("1"), look)
	if !errors.Is(err, pam.ErrUnreachable) || !strings.Contains(err.Error(), `machine "SRV1"`) || strings.Contains(pam.HintOf(err), "skip") {
		t.Errorf("got %v, hint %q", err, pam.HintOf(err))
	}
}

func TestAUserIsIdentifiedAtItsAuthorityOnce(t *testing.T) {
	t.Parallel()
	sc := newScene(0, true)
	visit := sc.engine().Visit()
	id, err := visit.Identify(t.Context(), uid("U"))
	if err != nil || id.Alias != "S-1-5-21-1" {
		t.Errorf("got %+v, %v", id, err)
	}
	sc.world.faults["check"] = faultDown
	if _, err := visit.Identify(t.Context(), uid("U")); !errors.Is(err, pam.ErrUnreachable) {
		t.Errorf("its authority is down: %v", err)
	}
	// What is known already is not asked for again.
	sc.store.account.Identity, sc.store.account.SID = "S-1-5-21-9", "S-1-5-21-9"
	sc.world.faults["check"] = faultDown
	if id, err = visit.Identify(t.Context(), uid("U")); err != nil || id.Alias != "S-1-5-21-9" {
		t.Errorf("got %+v, %v", id, err)
	}
}
