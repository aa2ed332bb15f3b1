package redisstore

import "github.com/redis/go-redis/v9"

// The steps that must be atomic. A value is taken for the one that was stored
// when it has its size and its probe: the SHA-1 of all of up to 1 KiB, else of
// sixteen pieces of 64 bytes, evenly spread. Redis has no quicker way to tell;
// reading checks every byte.
const common = `
local function probe(k, n)
  if n <= 1024 then return redis.sha1hex(redis.call('GET', k) or '') end
  local s = {}
  for i = 0, 15 do
    local off = math.floor(i * (n - 64) / 15)
    s[#s + 1] = redis.call('GETRANGE', k, off, off + 63)
  end
  return redis.sha1hex(table.concat(s))
end

-- what is under a key: absent, whole, foreign, parts or other
local function look(k, m)
  local t = redis.call('TYPE', k).ok
  if t ~= 'none' and t ~= 'string' then return 'other', {}, -1, '' end
  local h = redis.call('HMGET', m, 'version', 'size', 'parts', 'probe', 'sum', 'created')
  if t == 'string' then
    local n = redis.call('STRLEN', k)
    local p = probe(k, n)
    if h[1] and h[3] == '0' and tonumber(h[2]) == n and h[4] == p then return 'whole', h, n, p end
    return 'foreign', h, n, p
  end
  if h[1] and tonumber(h[3]) > 0 then return 'parts', h, -1, '' end
  return 'absent', h, -1, ''
end

-- the parts of an object stay a while for their readers
local function retire(h, grace)
  for i = 0, tonumber(h[3] or 0) - 1 do
    redis.call('PEXPIRE', 'framedb:part:' .. h[1] .. ':' .. i, grace)
  end
end

-- a condition: '' always, 'absent', 'present', or sums between commas;
-- known is size:probe of a foreign value whose sum the caller has found to match
local function refuses(cond, known, state, h, n, p)
  if cond == '' then return false end
  if cond == 'absent' then return state ~= 'absent' end
  if state == 'absent' then return true end
  if cond == 'present' then return false end
  if state == 'foreign' then return known ~= n .. ':' .. p end
  return not string.find(cond, ',' .. h[5] .. ',', 1, true)
end

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
`

// putScript makes an object visible.
//
// KEYS: the key, its metadata, its answer, then the parts that were uploaded.
// ARGV: version, size, sum, sums of blocks, content type, user, TTL in ms,
// condition, known, grace in ms, part size, done ms, and the bytes when there
// are no parts. It answers {state, created, modified, expires} or {why not, …}.
var putScript = redis.NewScript(common + `
local done = redis.call('GET', KEYS[3])
if done then return cjson.decode(done) end
local state, h, n, p = look(KEYS[1], KEYS[2])
if state == 'other' then return {'other'} end
if refuses(ARGV[8], ARGV[9], state, h, n, p) then return {'refused', state, tostring(n), p} end

local size, parts = tonumber(ARGV[2]), #KEYS - 3
for i = 1, parts do
  local want = math.min(tonumber(ARGV[11]), size - (i - 1) * ARGV[11])
  if redis.call('STRLEN', KEYS[3 + i]) ~= want then return {'lost'} end
end

local at, ttl = now(), tonumber(ARGV[7])
local created, expires = string.format('%.0f', at), '0'
if (state == 'whole' or state == 'parts') and h[6] then created = h[6] end
if ttl > 0 then expires = string.format('%.0f', at + ttl) end
local answer = {'done', created, string.format('%.0f', at), expires}

-- the first write is one that Redis refuses when it is full: nothing else has
-- happened then, and behind it nothing is refused
redis.call('SET', KEYS[3], cjson.encode(answer), 'PX', ARGV[12])
retire(h, ARGV[10])
if parts == 0 then
  redis.call('SET', KEYS[1], ARGV[13])
else
  redis.call('UNLINK', KEYS[1])
  if parts == 1 then redis.call('RENAME', KEYS[4], KEYS[1]) end
end
local chunks, prb = tostring(parts), ''
if parts <= 1 then chunks, prb = '0', probe(KEYS[1], size) end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'version', ARGV[1], 'size', ARGV[2], 'sum', ARGV[3], 'sums', ARGV[4], 'parts', chunks, 'part', ARGV[11],
  'probe', prb, 'type', ARGV[5], 'user', ARGV[6], 'created', created, 'modified', answer[3], 'expires', expires)
if ttl > 0 then
  redis.call('PEXPIREAT', KEYS[2], expires)
  if parts <= 1 then redis.call('PEXPIREAT', KEYS[1], expires) end
elseif parts == 1 then
  redis.call('PERSIST', KEYS[1])
end
for i = 4, parts > 1 and #KEYS or 0 do
  if ttl > 0 then
    redis.call('PEXPIREAT', KEYS[i], string.format('%.0f', at + ttl + ARGV[10]))
  else
    redis.call('PERSIST', KEYS[i])
  end
end
return answer
`)

// deleteScript takes an object away. KEYS: the key, its metadata, its answer.
// ARGV: condition, known, grace in ms, done ms.
var deleteScript = redis.NewScript(common + `
if redis.call('GET', KEYS[3]) then return {'done'} end
local state, h, n, p = look(KEYS[1], KEYS[2])
if state == 'other' then return {'other'} end
if refuses(ARGV[1], ARGV[2], state, h, n, p) then return {'refused', state, tostring(n), p} end
if state == 'absent' then return {'absent'} end
retire(h, ARGV[3])
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('SET', KEYS[3], '1', 'PX', ARGV[4]) -- never refused behind a write
return {'done'}
`)

// statScript tells the state, and the size and probe of a foreign value.
var statScript = redis.NewScript(common + `
local state, h, n, p = look(KEYS[1], KEYS[2])
return {state, tostring(n), p}
`)

// tidyScript drops metadata that nobody sees. ARGV: grace in ms.
var tidyScript = redis.NewScript(common + `
local state, h, n, p = look(KEYS[1], KEYS[2])
if state == 'whole' or state == 'parts' or not h[1] then return 0 end
retire(h, ARGV[1])
return redis.call('UNLINK', KEYS[2])
`)
