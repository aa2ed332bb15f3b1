-- Counts frames down: all of a batch in one atomic step, once for each token.
--
-- KEYS[1]     the token's key; "" remembers nothing
-- KEYS[2..]   the count keys, ref__P__n, group by group, none of them twice
-- ARGV        for each group: how many keys, by how much, how many sizes, sizes
--
-- Answers a MessagePack array with an integer for each count key, in order:
--    n > 0    what is left
--    -1       there was no count; nothing was created
--    -2 - d   the count came to zero or below: it is gone, and d data keys too
-- A count that is no integer answers BADCOUNT and its key, and changes nothing.

local remember_ms = 600000

-- parse returns the groups, each with its first and last index in keys.
local function parse(args)
  local groups, key, arg = {}, 2, 1
  while arg <= #args do
    local g = {first = key, last = key + tonumber(args[arg]) - 1, by = args[arg + 1], sizes = {}}
    for i = 1, tonumber(args[arg + 2]) do g.sizes[i] = args[arg + 2 + i] end
    groups[#groups + 1] = g
    key, arg = g.last + 1, arg + 3 + #g.sizes
  end
  return groups
end

-- raise takes back what lower did, up to the key at last in the group at.
local function raise(keys, groups, results, at, last)
  for back = 1, at do
    local g = groups[back]
    for i = g.first, math.min(g.last, last) do
      if results[i - 1] ~= -1 then redis.call('INCRBY', keys[i], g.by) end
    end
  end
end

-- lower decrements the counts into results. At a count that is no integer it
-- takes everything back and returns the key.
--
-- A DECRBY that leaves as much below zero as it took found either zero or no
-- count at all, and then made one: the number of keys tells which. Looking for
-- the counts first would cost a fifth more.
local function lower(keys, groups, results)
  local call, pcall, type = redis.call, redis.pcall, type
  local size = call('DBSIZE')
  for at, g in ipairs(groups) do
    local by, below = g.by, -tonumber(g.by)
    for i = g.first, g.last do
      local n = pcall('DECRBY', keys[i], by)
      if type(n) == 'table' then
        raise(keys, groups, results, at, i - 1)
        return keys[i]
      elseif n > 0 then
        results[i - 1] = n
      elseif n == below and call('DBSIZE') > size then
        call('UNLINK', keys[i])
        results[i - 1] = -1
      else
        results[i - 1] = -2
      end
    end
  end
end

-- unlink removes the counts that came to zero, with the data of their sizes.
local function unlink(keys, groups, results)
  for _, g in ipairs(groups) do
    for i = g.first, g.last do
      if results[i - 1] == -2 then
        local frame, gone = keys[i]:sub(6) .. '__', {keys[i]}
        for s = 1, #g.sizes do gone[s + 1] = frame .. g.sizes[s] end
        results[i - 1] = -1 - redis.call('UNLINK', unpack(gone))
      end
    end
  end
end

local function decrement(keys, args)
  local token = keys[1]
  if token ~= '' then
    local before = redis.call('GET', token)
    if before then return before end
  end
  local groups, results = parse(args), {}
  local bad = lower(keys, groups, results)
  if bad then return redis.error_reply('BADCOUNT ' .. bad) end
  unlink(keys, groups, results)
  local answer = cmsgpack.pack(results)
  if token ~= '' then redis.call('SET', token, answer, 'PX', remember_ms) end
  return answer
end
