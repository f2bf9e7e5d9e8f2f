-- vmext keeps the kstatus convention: Ready always, Reconciling or Stalled only while true.
local hs = { status = "Progressing", message = "Waiting for the vmext operator" }
if obj.status == nil or obj.status.conditions == nil then
  return hs
end
-- Until the operator has seen the last change, the conditions speak of what was declared before it.
if obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for the vmext operator to see the last change"
  return hs
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local ready = found["Ready"]
if ready == nil then
  return hs
end
hs.message = ready.reason .. ": " .. ready.message
if found["Stalled"] ~= nil and found["Stalled"].status == "True" then
  hs.status = "Degraded"
elseif found["Paused"] ~= nil and found["Paused"].status == "True" then
  hs.status = "Suspended"
  hs.message = found["Paused"].reason .. ": " .. found["Paused"].message
elseif ready.reason == "Paused" then
  hs.status = "Suspended"
elseif found["Reconciling"] ~= nil and found["Reconciling"].status == "True" then
  hs.status = "Progressing"
elseif ready.status == "True" then
  hs.status = "Healthy"
end
return hs
