package backup

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/framedb/framedb/client/wire"
)

// Target is a place in S3-compatible storage. It holds no secret, only where
// secrets are: they are read again for each request, so that they can be
// rotated, and they stand in no error and no log.
type Target struct {
	// Name is how people call it: 1 to 63 lower-case letters, digits and '-'.
	Name string `json:"name"`
	// Endpoint is host or host:port of the S3 server.
	Endpoint string `json:"endpoint"`
	// Bucket must be there already. Let it expire nothing and archive nothing.
	Bucket string `json:"bucket"`
	// Prefix is put before all keys in the bucket; empty for none.
	Prefix string `json:"prefix,omitempty"`
	// Region is the bucket's; empty means us-east-1, which servers other than
	// Amazon's mostly take.
	Region string `json:"region,omitempty"`
	// AccessKeyFile and SecretKeyFile hold one word each; space around it is
	// dropped.
	AccessKeyFile string `json:"access_key_file"`
	SecretKeyFile string `json:"secret_key_file"`
	// CAFile holds certificates, in PEM, of authorities that are trusted beside
	// the system's. It is read by New.
	CAFile string `json:"ca_file,omitempty"`
	// Insecure asks for plain HTTP: what is sent can be read and, but for the
	// signature of requests, changed by whoever is in between.
	Insecure bool `json:"insecure,omitempty"`
}

const (
	defaultRegion = "us-east-1"
	maxPrefix     = 512
	maxKeyFile    = 4 << 10
)

var (
	targetName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_]{0,62}$`)
)

// Validate looks at the form only; Repository.Check looks at what is there.
//
// Errors: ErrInvalidArgument with Field the JSON name.
func (t Target) Validate() error {
	switch {
	case !targetName.MatchString(t.Name):
		return invalid("name", "give 1 to 63 lower-case letters, digits and '-', starting and ending with a letter or digit")
	case t.checkEndpoint() != "":
		return invalid("endpoint", "%s", t.checkEndpoint())
	case t.Bucket == "":
		return invalid("bucket", "give the name of a bucket that is there")
	case t.Region != "" && !regionName.MatchString(t.Region):
		return invalid("region", "%q is not the name of a region, such as %s", t.Region, defaultRegion)
	case t.AccessKeyFile == "":
		return invalid("access_key_file", "give the path of a file that holds the access key")
	case t.SecretKeyFile == "":
		return invalid("secret_key_file", "give the path of a file that holds the secret key")
	case t.CAFile != "" && t.Insecure:
		return invalid("ca_file", "it has no use with plain HTTP: take it or insecure away")
	}
	if err := s3utils.CheckValidBucketNameStrict(t.Bucket); err != nil {
		return invalid("bucket", "%q is no name of a bucket: %v", t.Bucket, err)
	}
	return checkPrefix(t.Prefix)
}

func (t Target) checkEndpoint() string {
	if strings.Contains(t.Endpoint, "://") || strings.Contains(t.Endpoint, "/") {
		return "give host or host:port alone; insecure says whether it is plain HTTP"
	}
	u, err := url.Parse("https://" + t.Endpoint)
	if err != nil || u.Host != t.Endpoint || u.Hostname() == "" || u.User != nil {
		return "give host or host:port"
	}
	if _, port, err := net.SplitHostPort(t.Endpoint); err == nil && port == "" {
		return "give a port behind the ':'"
	}
	return ""
}

func checkPrefix(p string) error {
	if len(p) > maxPrefix || !utf8.ValidString(p) || strings.IndexFunc(p, unicode.IsControl) >= 0 {
		return invalid("prefix", "give at most %d bytes of printable UTF-8", maxPrefix)
	}
	if p == "" {
		return nil
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(p, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return invalid("prefix", "%q has an empty part or one of dots", p)
		}
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return wire.InField(field, wire.Errorf(wire.CodeInvalidArgument, format, args...))
}

// client makes the S3 client; it does not dial.
func (t Target) client() (*minio.Core, *http.Transport, error) {
	transport, err := minio.DefaultTransport(!t.Insecure)
	if err != nil {
		return nil, nil, err
	}
	if t.CAFile != "" {
		pool, err := t.roots()
		if err != nil {
			return nil, nil, err
		}
		if transport.TLSClientConfig == nil {
			transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	region := t.Region
	if region == "" {
		region = defaultRegion
	}
	core, err := minio.NewCore(t.Endpoint, &minio.Options{
		Creds: credentials.New(keyFiles{t}), Secure: !t.Insecure, Region: region, Transport: transport, MaxRetries: requestTries,
	})
	if err != nil {
		return nil, nil, invalid("endpoint", "%v", err)
	}
	return core, transport, nil
}

func (t Target) roots() (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, invalid("ca_file", "%v", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, invalid("ca_file", "there is no certificate in PEM in it")
	}
	return pool, nil
}

// keyFiles reads the keys for each request.
type keyFiles struct{ target Target }

func (k keyFiles) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

func (k keyFiles) Retrieve() (credentials.Value, error) {
	access, err := readKey("access_key_file", k.target.AccessKeyFile)
	if err != nil {
		return credentials.Value{}, err
	}
	secret, err := readKey("secret_key_file", k.target.SecretKeyFile)
	if err != nil {
		return credentials.Value{}, err
	}
	return credentials.Value{AccessKeyID: access, SecretAccessKey: secret, SignerType: credentials.SignatureV4}, nil
}

// IsExpired makes the client ask each time.
func (k keyFiles) IsExpired() bool { return true }

func readKey(field, path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", invalid(field, "%v", err)
	}
	word := bytes.TrimSpace(data)
	if len(data) > maxKeyFile || len(word) == 0 || bytes.ContainsFunc(word, notInKey) {
		return "", invalid(field, "%s does not hold one word of printable ASCII", path)
	}
	return string(word), nil
}

func notInKey(r rune) bool { return r <= ' ' || r > '~' }
