package service_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/gracefleet/gracefleet/agent/internal/service"
	"github.com/gracefleet/gracefleet/agent/internal/service/spectest"
)

// Only what is listed may change without changing what runs: a field that is new
// counts until somebody has thought about it.
func TestSameProgram(t *testing.T) {
	free := []string{"Artifact", "Sockets", "Upgrade", "Drain", "Restart", "KeepGenerations"}
	kind := reflect.TypeFor[service.Spec]()
	for i := range kind.NumField() {
		name := kind.Field(i).Name
		a, b := spectest.Minimal(), spectest.Minimal()
		changeValue(t, reflect.ValueOf(&b).Elem().Field(i))
		if got, want := service.SameProgram(a, b), slices.Contains(free, name); got != want {
			t.Errorf("another %s: the same program is %v", name, got)
		}
	}
}

func TestACheckIsAProgram(t *testing.T) {
	a, b := spectest.Minimal(), spectest.Minimal()
	b.Upgrade.Check = &service.Check{Probe: service.Probe{Exec: &service.ExecProbe{Command: []string{"/bin/sh"}}}}
	if service.SameProgram(a, b) {
		t.Error("a command of the check runs nothing")
	}
	b.Upgrade.Check, b.Upgrade.Soak = a.Upgrade.Check, a.Upgrade.Soak+1
	if !service.SameProgram(a, b) {
		t.Error("another soak runs another program")
	}
}

// changeValue gives a field another value, and a structure that of its first field.
func changeValue(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		m.SetMapIndex(reflect.ValueOf("x"), reflect.Zero(v.Type().Elem()))
		v.Set(m)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[service.Upgrade]() {
			v.FieldByName("NoOverlap").SetBool(true)
			return
		}
		changeValue(t, v.Field(0))
	default:
		t.Fatalf("no other value for a %v", v.Type())
	}
}
