package httpapi_test

import (
	"context"
	"io"
	"net/http/httptest"
	"net/url"
	"regexp"
	"sort"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/gin-gonic/gin"
)

func document(t testing.TB, a *api) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData([]byte(a.get("/openapi.json").want(t, 200).body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestDocumentIsValidOpenAPI31(t *testing.T) {
	doc := document(t, newAPI(t))
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("document is OpenAPI %s, want 3.1", doc.OpenAPI)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
}

var ginParam = regexp.MustCompile(`[:*](\w+)`)

// Every route is described and everything described is served.
func TestDocumentAndRoutesAgree(t *testing.T) {
	a := newAPI(t)
	doc := document(t, a)
	described := map[string]bool{}
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			described[method+" "+path] = true
			if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" {
				t.Errorf("%s %s: operationId %q is empty or taken, or the summary is missing", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	var missing []string
	for _, r := range a.server.Handler().(*gin.Engine).Routes() {
		name := r.Method + " " + ginParam.ReplaceAllString(r.Path, "{$1}")
		if !described[name] {
			missing = append(missing, name)
		}
		delete(described, name)
	}
	sort.Strings(missing)
	if len(missing) > 0 {
		t.Errorf("served, not described: %v", missing)
	}
	for name := range described {
		t.Errorf("described, not served: %s", name)
	}
}

// contract checks calls against the document.
type contract struct {
	doc *openapi3.T
}

// newContract closes every object of the document that does not say that it is
// open, so that a field that is sent and not described is found.
func newContract(t testing.TB, a *api) contract {
	doc := document(t, a)
	for _, item := range doc.Paths.Map() {
		for _, op := range item.Operations() {
			for _, r := range op.Responses.Map() {
				for _, m := range r.Value.Content {
					closeObjects(m.Schema, map[*openapi3.Schema]bool{})
				}
			}
		}
	}
	return contract{doc}
}

func closeObjects(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	if extra := s.AdditionalProperties; s.Type.Is("object") && extra.Has == nil && extra.Schema == nil {
		no := false
		s.AdditionalProperties.Has = &no
	}
	for _, p := range s.Properties {
		closeObjects(p, seen)
	}
	closeObjects(s.Items, seen)
	closeObjects(s.AdditionalProperties.Schema, seen)
}

// check fails when an answer is not as described, or when a request that was
// answered with success is not.
func (c contract) check(t *testing.T, e endpoint, path, body string, r answer) {
	t.Helper()
	if err := c.verify(t, e, path, body, r); err != nil {
		t.Errorf("%s %s %s answered %d %s, but: %v", e.method, path, body, r.status, r.body, err)
	}
}

func (c contract) verify(t *testing.T, e endpoint, path, body string, r answer) error {
	t.Helper()
	described := ginParam.ReplaceAllString(e.route, "{$1}")
	item := c.doc.Paths.Value(described)
	req := httptest.NewRequest(e.method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if e.method == "PUT" && (strings.HasPrefix(e.route, "/v1/frames") || strings.HasPrefix(e.route, "/v1/framedbs")) {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	in := &openapi3filter.RequestValidationInput{
		Request: req, PathParams: pathParams(t, e.route, path),
		Route:   &routers.Route{Spec: c.doc, Path: described, PathItem: item, Method: e.method, Operation: item.GetOperation(e.method)},
		Options: &openapi3filter.Options{MultiError: true},
	}
	if r.status < 300 {
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil {
			return err
		}
	}
	return openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: r.status, Header: r.header, Body: io.NopCloser(strings.NewReader(r.body)),
		Options: &openapi3filter.Options{MultiError: true},
	})
}

func pathParams(t testing.TB, route, path string) map[string]string {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	params := map[string]string{}
	values := strings.Split(path, "/")
	for i, name := range strings.Split(route, "/") {
		if name == "*key" {
			values[i] = strings.Join(values[i:], "/")
		} else if !strings.HasPrefix(name, ":") {
			continue
		}
		value, err := url.PathUnescape(values[i])
		if err != nil {
			t.Fatal(err)
		}
		params[name[1:]] = value
	}
	return params
}

// Real answers are as the document describes them, without a field more, and
// so are the requests that were accepted.
func TestAnswersFitTheDocument(t *testing.T) {
	t.Parallel()
	c := newContract(t, newAPI(t))
	for _, e := range endpoints() {
		if e.status == 0 {
			continue
		}
		t.Run(e.String(), func(t *testing.T) {
			a := newAPI(t).populate()
			c.check(t, e, e.path, e.body, a.call(e, e.body))
			if e.route == "/v1/status" {
				c.check(t, e, e.path+"?brief=true", "", a.get(e.path+"?brief=true"))
			}
			if e.body != "" {
				c.check(t, e, e.path, "{", a.call(e, "{"))
			}
		})
	}
}

func TestFrameAnswersFitTheDocument(t *testing.T) {
	t.Parallel()
	a, _ := withRedis(t, 1)
	c := newContract(t, a)
	routes := map[string]endpoint{}
	for _, e := range endpoints() {
		routes[e.String()] = e
	}
	const frame = "/v1/frames/cam/cam%3F0%3F0__7"
	for _, call := range []struct{ route, path, body string }{
		{"PUT /v1/frames/:source/:frame/:size", frame + "/8x8?count=1&node_tag=node-1", "pixels"},
		{"GET /v1/frames/:source", "/v1/frames/cam?limit=10", ""},
		{"GET /v1/frames/:source/:key", frame + "__8x8", ""},
		{"POST /v1/frames/:source/retain", "/v1/frames/cam/retain", `{"uses":[{"key":"ref__cam?0?0__7","by":2},{"key":"ref__cam?0?0__8","by":2}]}`},
		{"POST /v1/leases/:lease", "/v1/leases/me", `{"source":"cam","ttl_ms":60000,"uses":[{"key":"ref__cam?0?0__7","by":1}]}`},
		{"GET /v1/leases", "/v1/leases?cluster=real", ""},
		{"POST /v1/leases/:lease/renew", "/v1/leases/me/renew", `{"cluster":"real","ttl_ms":60000}`},
		{"POST /v1/leases/:lease/put-back", "/v1/leases/me/put-back", `{"cluster":"real","decrements":[{"key":"ref__cam?0?0__7","by":1}]}`},
		{"POST /v1/leases/:lease/renew", "/v1/leases/me/renew", `{"cluster":"real","ttl_ms":60000}`},
		{"POST /v1/leases/:lease/release", "/v1/leases/me/release", `{"cluster":"real"}`},
		{"POST /v1/clusters/:name/sweep", "/v1/clusters/real/sweep", `{"dry_run":true}`},
		{"POST /v1/frames/:source/decr", "/v1/frames/cam/decr", `{"decrements":[{"key":"ref__cam?0?0__7","by":1,"sizes":["8x8"]}]}`},
		{"POST /v1/frames/:source/decr", "/v1/frames/cam/decr", `{"decrements":[{"key":"ref__cam?0?0__7","by":1,"sizes":["8x8"]}]}`},
		{"GET /v1/frames/:source/:key", frame + "__8x8", ""},
		{"GET /v1/clusters/:name/topology", "/v1/clusters/real/topology", ""},
		{"POST /discovery/getMaster", "/discovery/getMaster", `{"framedb_id":"real"}`},
		{"POST /discovery/getSlaves", "/discovery/getSlaves", `{"framedb_id":"real"}`},
		{"POST /discovery/getClusterInfo", "/discovery/getClusterInfo", `{"framedb_id":"real"}`},
		{"POST /discovery/getClusterMaster", "/discovery/getClusterMaster", `{"clusterName":"real"}`},
		{"POST /routing/updateMapping", "/routing/updateMapping", `{"sourceId":"cam","nodeTag":"node-1"}`},
	} {
		e, found := routes[call.route]
		if !found {
			t.Fatalf("no route %s", call.route)
		}
		c.check(t, e, call.path, call.body, a.do(e.method, call.path, call.body))
	}
}

// The contract itself finds what is not described, missing or of another type.
func TestTheContractFindsMistakes(t *testing.T) {
	a := newAPI(t).populate()
	c := newContract(t, a)
	e := endpoint{method: "GET", route: "/v1/clusters/:name", path: "/v1/clusters/alpha"}
	good := a.call(e, "").want(t, 200)
	for _, change := range [][2]string{
		{`{"name"`, `{"undescribed":1,"name"`},
		{`"generation":1,`, ``},
		{`"replicas":3`, `"replicas":"3"`},
		{`"phase":"ready"`, `"phase":"fine"`},
	} {
		bad := good
		bad.body = strings.Replace(good.body, change[0], change[1], 1)
		if bad.body == good.body || c.verify(t, e, e.path, "", bad) == nil {
			t.Errorf("%q went through for %q", change[1], change[0])
		}
	}
	post := endpoint{method: "POST", route: "/v1/clusters"}
	if c.verify(t, post, "/v1/clusters", `{"name":"x","node_tag":"n","replicas":0,"quorum":1}`, answer{status: 201, header: good.header, body: good.body}) == nil {
		t.Error("a request out of range went through")
	}
}
