-- Counts frames down: all of a batch in one atomic step, once for each token.
--
-- KEYS        the count keys, ref__P__n, group by group, none of them twice
-- KEYS, last  the token's key; "" remembers nothing
-- ARGV        for each group: how many keys, by how much, how many sizes, sizes;
--             "*" stands for all sizes that are known of the key's source
--
-- Answers a MessagePack array with a number for each count key, in order:
--    n > 0    what is left; as text from 2^53 on, which Lua's numbers round
--    -1       there was no count; nothing was created
--    -2 - d   the count came to zero or below: it is gone, and d data keys too
-- A count that is no integer answers BADCOUNT and its key, and changes nothing.

local remember_ms = 600000

-- parse returns the groups in args[arg] and behind it, each with its first and
-- last index in keys.
local function parse(args, arg)
  local groups, key = {}, 1
  while arg <= #args do
    local g = {first = key, last = key + tonumber(args[arg]) - 1, by = args[arg + 1], sizes = {}}
    local sizes = tonumber(args[arg + 2])
    for i = arg + 3, arg + 2 + sizes do
      if args[i] == '*' then g.all = true else g.sizes[#g.sizes + 1] = args[i] end
    end
    groups[#groups + 1] = g
    key, arg = g.last + 1, arg + 3 + sizes
  end
  return groups
end

-- raise takes back what lower did, as far as there are results.
local function raise(keys, groups, results)
  for _, g in ipairs(groups) do
    for i = g.first, math.min(g.last, #results) do
      if results[i] ~= -1 then redis.call('INCRBY', keys[i], g.by) end
    end
  end
end

-- lower decrements the counts into results, one after the other, and raises an
-- error at one that is no integer. That costs nothing for the others, while to
-- look at each answer's type costs 7 %; DECR instead of DECRBY saves 3 %. Each
-- group learns which of its keys came to zero.
--
-- A decrement that leaves as much below zero as it took found either zero or no
-- count at all, and then made one: the number of keys tells which. Looking for
-- the counts first would cost a fifth more.
local function lower(keys, groups, results)
  local call = redis.call
  local size = call('DBSIZE')
  for _, g in ipairs(groups) do
    local by, below, one, spent = g.by, -tonumber(g.by), g.by == '1', {}
    g.spent = spent
    for i = g.first, g.last do
      local n = one and call('DECR', keys[i]) or call('DECRBY', keys[i], by)
      if n > 0 then
        results[i] = n
      elseif n == below and call('DBSIZE') > size then
        call('UNLINK', keys[i])
        results[i] = -1
      else
        results[i] = -2
        spent[#spent + 1] = i
      end
    end
  end
end

-- lower_good is lower that passes over counts that are no integers, as if they
-- were not there, and returns the first of their keys.
local function lower_good(keys, groups, results)
  local bad
  for _, g in ipairs(groups) do
    g.spent = {}
    for i = g.first, g.last do
      local one = {first = i, last = i, by = g.by}
      if pcall(lower, keys, {one}, results) then
        g.spent[#g.spent + 1] = one.spent[1]
      else
        results[i], bad = -1, bad or keys[i]
      end
    end
  end
  return bad
end

-- drop unlinks one size of the frames spent[from] to spent[to], and counts in
-- results what was there. To ask first tells the frames apart when not all had
-- it; two calls for many keys cost less than one for each.
local function drop(keys, spent, from, to, size, results)
  local data = {}
  for j = from, to do data[#data + 1] = keys[spent[j]]:sub(6) .. '__' .. size end
  local there = redis.call('EXISTS', unpack(data))
  if there == 0 then return end
  if there == #data then redis.call('UNLINK', unpack(data)) end
  for j = from, to do
    local gone = there == #data and 1 or redis.call('UNLINK', data[j - from + 1])
    results[spent[j]] = results[spent[j]] - gone
  end
end

-- sizes_of returns those of the group, and all that are known of the source.
local function sizes_of(g, source)
  if not g.all then return g.sizes end
  local sizes, there = redis.call('SMEMBERS', 'framedb:sizes:' .. source), {}
  for _, s in ipairs(sizes) do there[s] = true end
  for _, s in ipairs(g.sizes) do
    if not there[s] then sizes[#sizes + 1] = s end
  end
  return sizes
end

-- unlink removes the counts that came to zero, with the data of their sizes: up
-- to a hundred frames of one source at once.
local function unlink(keys, groups, results)
  for _, g in ipairs(groups) do
    local spent, from = g.spent, 1
    while from <= #spent do
      local source, to = keys[spent[from]]:match('^ref__(.-)%?'), from
      local counts, start = {keys[spent[from]]}, 'ref__' .. source .. '?'
      while to < #spent and #counts < 100 and keys[spent[to + 1]]:sub(1, #start) == start do
        to = to + 1
        counts[#counts + 1] = keys[spent[to]]
      end
      redis.call('UNLINK', unpack(counts))
      for _, size in ipairs(sizes_of(g, source)) do drop(keys, spent, from, to, size, results) end
      from = to + 1
    end
  end
end

-- exact replaces the counts that Lua's numbers round.
local function exact(keys, results)
  for i, n in ipairs(results) do
    if n >= 2^53 then results[i] = redis.call('GET', keys[i]) end
  end
end

-- pack makes the answer. From 2^53 on a number is packed behind the byte 202 or
-- 207. To look for those costs nothing, to compare each count 1.5 %.
local function pack(keys, results)
  local answer = cmsgpack.pack(results)
  if answer:find('\202', 1, true) or answer:find('\207', 1, true) then
    exact(keys, results)
    answer = cmsgpack.pack(results)
  end
  return answer
end

-- once gives the answer that the token's key, the last one, has; else it asks
-- for one, with the count keys alone, and remembers it. An error is not kept.
local function once(keys, work)
  local token = table.remove(keys)
  if token ~= '' then
    local before = redis.call('GET', token)
    if before then return before end
  end
  local answer = work(keys)
  if token ~= '' and type(answer) == 'string' then redis.call('SET', token, answer, 'PX', remember_ms) end
  return answer
end

local function decrement(keys, args)
  return once(keys, function(keys)
    local groups, results = parse(args, 1), {}
    if not pcall(lower, keys, groups, results) then
      raise(keys, groups, results)
      return redis.error_reply('BADCOUNT ' .. keys[#results + 1])
    end
    unlink(keys, groups, results)
    return pack(keys, results)
  end)
end
