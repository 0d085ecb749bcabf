import { limits } from '../limits.js'
import { integer, text } from '../shape.js'

/** Fields that several commands share. */
export const topicName = text(limits.topicNameBytesMax)
export const groupName = text(limits.groupNameBytesMax)
export const memberId = text(limits.memberIdBytesMax)
export const topicId = integer(1)
export const partition = integer(0, limits.partitionsPerTopicMax - 1)
export const offset = integer()
export const bytes = integer()
export const milliseconds = integer()
/** 0: no error; otherwise a number of the error table. */
export const errorNumber = integer(0, 0xffff)
export const message = text(4096)
/** Free text for humans, from either end. */
export const label = text(256)
