/** The kind of stream that drops a message when it is acknowledged, and has one consumer. */
export const workQueue = 'work-queue'

/** The kind of stream whose messages can be schedules, each on its own subject, for messages on another subject. */
export const scheduled = 'scheduled'
