package httpapi_test

import (
	"fmt"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

// A late consumer retains, another leases; what is repeated under a key is done
// once, and each use goes once, by whoever comes first.
func TestRetainAndLeasesThroughTheAgent(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	rdb := c.Servers[0].Client()
	frame := wire.NewFrameKey("cam", 0, 0, 7)
	if err := rdb.MSet(t.Context(), frame.Count(), 1, frame.Data("8x8"), "x").Err(); err != nil {
		t.Fatal(err)
	}
	left := func() string { return rdb.Get(t.Context(), frame.Count()).Val() }
	use := fmt.Sprintf(`"uses":[{"key":"%s","by":2},{"key":"ref__cam?0?0__8","by":1}]`, frame.Count())
	for range 2 {
		r := decoded[wire.UseResults](t, a.do("POST", "/v1/frames/cam/retain", `{`+use+`}`, wire.HeaderRequestID, "k").want(t, 200))
		if want := (wire.UseResults{Results: []wire.Used{{Key: frame.Count(), Count: 3}, {Key: "ref__cam?0?0__8", Missing: true}}}); fmt.Sprint(r) != fmt.Sprint(want) {
			t.Errorf("retained %+v, want %+v", r, want)
		}
	}
	for range 2 {
		a.do("POST", "/v1/leases/me", `{"cluster":"real","ttl_ms":60000,"add":true,`+use+`}`, wire.HeaderRequestID, "k").want(t, 200)
	}
	if left() != "5" {
		t.Errorf("%s uses are left, want 5", left())
	}
	list := decoded[wire.Leases](t, a.get("/v1/leases?cluster=real").want(t, 200)).Leases
	if len(list) != 1 || list[0].ID != "me" || list[0].Frames != 1 || list[0].Left < 1 || list[0].Left > 60000 {
		t.Errorf("leases: %+v", list)
	}
	back := fmt.Sprintf(`{"source":"cam","decrements":[{"key":"%s","by":1}]}`, frame.Count())
	for range 2 {
		a.do("POST", "/v1/leases/me/put-back", back, wire.HeaderRequestID, "k").want(t, 200)
	}
	if left() != "4" {
		t.Errorf("%s uses are left, want 4", left())
	}
	for _, want := range []int64{1, 0} {
		if r := decoded[wire.LeaseReleased](t, a.do("POST", "/v1/leases/me/release", `{"source":"cam"}`).want(t, 200)); r.Frames != want {
			t.Errorf("released %+v, want of %d frames", r, want)
		}
	}
	if left() != "3" {
		t.Errorf("%s uses are left, want 3", left())
	}
	a.do("POST", "/v1/leases/me/renew", `{"cluster":"real","ttl_ms":60000}`).want(t, 404).refused(t, wire.CodeNotFound, "lease")
}

// A dry sweep says what there is, and unlinks nothing.
func TestADrySweepThroughTheAgent(t *testing.T) {
	t.Parallel()
	a, c := withRedis(t, 1)
	rdb := c.Servers[0].Client()
	if err := rdb.MSet(t.Context(), "cam?0?0__1__8x8", "leak", "ref__cam?0?0__2", "0", "other", "x").Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := decoded[wire.Swept](t, a.do("POST", "/v1/clusters/real/sweep", `{"dry_run":true}`).want(t, 200))
		if got.Keys < 3 || got.Suspects["data"] != 1 || got.Suspects["spent"] != 1 || len(got.Found) != 0 || got.Unlinked != 0 {
			t.Errorf("got %+v", got)
		}
	}
	if n := rdb.Exists(t.Context(), "cam?0?0__1__8x8", "ref__cam?0?0__2", "other").Val(); n != 3 {
		t.Errorf("%d of 3 keys are left", n)
	}
}
