export { DelayedAdmin, type DelayedMessage } from './delayed_admin.js'
export { type EachMessage, EachPublisher } from './each_publisher.js'
export { type Schedule, type ScheduleInput, SchedulesAdmin } from './schedules_admin.js'
