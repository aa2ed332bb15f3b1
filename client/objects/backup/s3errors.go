package backup

import (
	"crypto/tls"
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/framedb/framedb/client/wire"
)

// fault is what an error code of S3 means here.
type fault struct {
	code  wire.Code
	field string // of Target
	what  string
}

// faults of servers that name them; the statuses of the rest are in byStatus.
// Only NoSuchKey means that something is not there: servers answer 404 to
// other things, too.
var faults = map[string]fault{
	"InvalidAccessKeyId":           {wire.CodeForbidden, "access_key_file", "S3 does not know this access key"},
	"XAdminUserNotFound":           {wire.CodeForbidden, "access_key_file", "S3 does not know this access key"}, // versitygw
	"SignatureDoesNotMatch":        {wire.CodeForbidden, "secret_key_file", "the secret key is not that of the access key"},
	"ExpiredToken":                 {wire.CodeForbidden, "access_key_file", "the access key is no longer valid"},
	"AccessDenied":                 {wire.CodeForbidden, "access_key_file", "this access key may not do that"},
	"AllAccessDisabled":            {wire.CodeForbidden, "bucket", "S3 has disabled this bucket"},
	"NoSuchBucket":                 {wire.CodeNotFound, "bucket", "there is no such bucket: make it first"},
	"InvalidBucketName":            {wire.CodeInvalidArgument, "bucket", "S3 refuses the name of this bucket"},
	"NoSuchKey":                    {wire.CodeNotFound, "", "it is not there"},
	"PreconditionFailed":           {wire.CodePrecondition, "", "there is one already"},
	"ConditionalRequestConflict":   {wire.CodePrecondition, "", "another is being written just now"},
	"AuthorizationHeaderMalformed": {wire.CodeInvalidArgument, "region", "it is not the bucket's region"},
	"PermanentRedirect":            {wire.CodeInvalidArgument, "endpoint", "the bucket is at another endpoint"},
	"RequestTimeTooSkewed":         {wire.CodeUnavailable, "endpoint", "the clocks of this machine and of S3 differ too much: set them by NTP"},
	"InsufficientStorage":          {wire.CodeDiskFull, "endpoint", "no space is left at the S3 server"},
	"XMinioStorageFull":            {wire.CodeDiskFull, "endpoint", "no space is left at the S3 server"},
	"QuotaExceeded":                {wire.CodeDiskFull, "bucket", "the quota of the bucket is used up"},
	"XAmzContentSHA256Mismatch":    {wire.CodeChecksum, "", "what arrived at S3 was not what was sent"},
	"BadDigest":                    {wire.CodeChecksum, "", "what arrived at S3 was not what was sent"},
	"SlowDown":                     {wire.CodeOverloaded, "endpoint", "S3 asks for fewer requests"},
	"InternalError":                {wire.CodeUnavailable, "endpoint", "S3 failed"},

	"XMinioAdminBucketQuotaExceeded": {wire.CodeDiskFull, "bucket", "the quota of the bucket is used up"},
}

func byStatus(status int) fault {
	switch {
	case status == http.StatusInsufficientStorage:
		return faults["InsufficientStorage"]
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return faults["AccessDenied"]
	case status == http.StatusPreconditionFailed:
		return faults["PreconditionFailed"]
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return faults["SlowDown"]
	case status >= 500:
		return faults["InternalError"]
	}
	return fault{wire.CodeInternal, "endpoint", "S3 refused; is the endpoint an S3 server?"}
}

// translate gives an error of the S3 client its code. The text of such errors
// has names of buckets and keys in it, never a secret.
func (b *bucket) translate(key string, err error) error {
	var res minio.ErrorResponse
	var untrusted *tls.CertificateVerificationError
	f := fault{wire.CodeUnavailable, "endpoint", "S3 does not answer"}
	switch {
	case errors.As(err, &res) && res.StatusCode != 0:
		known, ok := faults[res.Code]
		if f = known; !ok {
			f = byStatus(res.StatusCode)
		}
	case errors.As(err, &untrusted):
		f = fault{wire.CodeUnavailable, "ca_file", "the certificate of the S3 server is not trusted"}
	}
	e := wire.Errorf(f.code, "%s (bucket %q, key %q: %v)", f.what, b.name, key, err)
	if f.field == "" {
		return e
	}
	return wire.InField(f.field, e)
}
