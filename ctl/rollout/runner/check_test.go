package runner

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gracefleet/gracefleet/ctl/rollout"
)

func TestPrometheusAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0"]}]}}`: "",
		`{"status":"success","data":{"resultType":"vector","result":[]}}`:                              "does not hold",
		`{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`:                         "",
		`{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}`:                         "answers 0",
		`{"status":"success","data":{"resultType":"scalar","result":[1,"NaN"]}}`:                       "answers NaN",
		`{"status":"success","data":{"resultType":"scalar","result":[1,2]}}`:                           "none of Prometheus",
		`{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`:                         "answers a string",
		`{"status":"error","error":"parse error"}`:                                                     "parse error",
		`<html>`: "none of Prometheus",
	} {
		err := holds([]byte(answer))
		if got := fmt.Sprint(err); (err == nil) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
	}
}

func TestChecksAskOverHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/web1/10.0.0.1":
			w.WriteHeader(http.StatusNoContent)
		case "/prometheus/api/v1/query":
			if q := r.FormValue("query"); q != `up{instance="10.0.0.1:80", host="web1"} == 1` {
				t.Errorf("query %s", q)
			}
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{}]}}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	r := &Runner{o: Options{Address: func(string) string { return "10.0.0.1" }}}
	task := &task{Runner: r, Effect: rollout.Effect{Host: "web1"}}
	for _, c := range []struct {
		check rollout.Check
		want  string
	}{
		{rollout.Check{HTTP: server.URL + "/{host}/{address}"}, ""},
		{rollout.Check{HTTP: server.URL + "/other"}, "503"},
		{rollout.Check{Prometheus: server.URL + "/prometheus/", Query: `up{instance="{address}:80", host="{host}"} == 1`}, ""},
		{rollout.Check{Prometheus: server.URL, Query: "x"}, "503"},
		{rollout.Check{HTTP: "http://127.0.0.1:1/"}, "refused"},
	} {
		c.check.Interval = 5 * time.Second
		err := task.question(t.Context(), c.check)
		if (err == nil) != (c.want == "") || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.check, err, c.want)
		}
	}
}

func TestTailKeepsTheLastWords(t *testing.T) {
	var said tail
	for _, words := range []string{"a", strings.Repeat("b", maxWords), "c", strings.Repeat("d", maxWords/2)} {
		if n, err := said.Write([]byte(words)); n != len(words) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if got, want := said.String(), strings.Repeat("b", maxWords/2-1)+"c"+strings.Repeat("d", maxWords/2); got != want {
		t.Errorf("%s", got)
	}
}
