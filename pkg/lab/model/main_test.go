package model_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func pw(s string) secret.Value { return secret.New([]byte(s)) }

// fleet is the practice fleet with a clock that tests move.
func fleet(t *testing.T, servers int) (*model.Fleet, *model.StepClock) {
	t.Helper()
	clock := model.NewStepClock(start)
	f, err := model.Practice(model.PracticeOptions{Servers: servers, Clock: clock, Random: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	return f, clock
}

// reset gives LAB\svc_app the password N3w-Passw0rd-1.
func reset(t *testing.T, f *model.Fleet) {
	t.Helper()
	if code := f.Domain.Reset("svc_app", pw("N3w-Passw0rd-1")); code != model.OK {
		t.Fatal(code)
	}
}
