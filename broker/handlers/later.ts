import { type commands, limits, MillraceError, type ReplyOf } from '../../protocol/index.js'
import { listDelayed, PublishEach, type Schedule } from '../later/index.js'
import type { Shard } from '../shard.js'
import type { Handler } from './handler.js'

type ScheduleSummary = ReplyOf<typeof commands.scheduleList>['schedules'][number]

const schedulesLimitDefault = 100

const publishEach: Handler<typeof commands.publishEach> = async ({ broker, session }, request, payload) => {
  if (broker.draining) throw new MillraceError('DRAINING')
  const { messages, repeatedAfterMs } = request
  // The repeat itself may have waited, for example while the broker was suspended.
  const sentAgoMs = repeatedAfterMs === undefined ? undefined : repeatedAfterMs + session.readyMs
  const each = new PublishEach(broker.later, messages.length, sentAgoMs)
  return { body: { results: await each.run(request, payload) } }
}

const delayedCancel: Handler<typeof commands.delayedCancel> = async ({ broker }, { topic, id }) => ({
  body: { cancelled: await broker.later.delayedFiring.cancel(topic, id) },
})

const delayedList: Handler<typeof commands.delayedList> = async ({ broker }, request) => ({
  body: await listDelayed(broker.later, request),
})

const scheduleSet: Handler<typeof commands.scheduleSet> = async ({ broker }, request, payload) => {
  const nextDueMs = await broker.later.scheduleFiring.set(request, payload)
  broker.later.scheduleChanged()
  return { body: { nextDueMs } }
}

const scheduleDelete: Handler<typeof commands.scheduleDelete> = async ({ broker }, { name }) => {
  await broker.later.scheduleFiring.delete(name)
  return { body: {} }
}

const scheduleList: Handler<typeof commands.scheduleList> = ({ broker }, request) => {
  const { limit = schedulesLimitDefault, after = '' } = request
  const { schedules } = broker.later
  const all = [...schedules.all].filter(({ name }) => name > after).sort((a, b) => (a.name < b.name ? -1 : 1))
  const page = all.slice(0, Math.min(limit, limits.listPageMax))
  return {
    body: {
      schedules: page.map((schedule) => summaryOf(schedule, broker.shard)),
      count: schedules.count,
      more: all.length > page.length,
    },
  }
}

export const laterHandlers = {
  publishEach,
  delayedCancel,
  delayedList,
  scheduleSet,
  scheduleDelete,
  scheduleList,
}

function summaryOf(schedule: Schedule, { catalog }: Shard): ScheduleSummary {
  const { body: _body, key: _key, topicId, revision: _revision, ...shown } = schedule
  return { ...shown, topic: catalog.byId(topicId)?.name ?? '' }
}
