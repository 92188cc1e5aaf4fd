//! What the names and texts of the sample data are made of.

/// The sales team: who owns and writes.
pub(super) const TEAM: [&str; 5] = ["chen.jing", "li.wei", "liu.yang", "wang.fang", "zhao.min"];

pub(super) const CITIES: [&str; 16] = [
    "北京", "上海", "深圳", "广州", "杭州", "苏州", "成都", "武汉", "南京", "西安", "重庆", "天津", "青岛",
    "宁波", "厦门", "长沙",
];
/// Syllables of which company names are made.
pub(super) const BRANDS: [&str; 24] = [
    "华", "天", "瑞", "恒", "鑫", "博", "远", "嘉", "宏", "盛", "泰", "信", "联", "智", "云", "海", "凯",
    "腾", "启", "明", "诚", "达", "通", "源",
];
/// An industry and what its companies call themselves.
pub(super) const INDUSTRIES: [(&str, &str); 10] = [
    ("制造", "精密机械"),
    ("电子", "电子科技"),
    ("软件", "信息技术"),
    ("医疗", "医疗器械"),
    ("物流", "供应链管理"),
    ("教育", "教育咨询"),
    ("食品", "食品"),
    ("能源", "新能源"),
    ("建筑", "建筑工程"),
    ("贸易", "国际贸易"),
];
pub(super) const FORMS: [&str; 3] = ["有限公司", "股份有限公司", "有限责任公司"];

/// A surname and how it is written in an e-mail address.
pub(super) const SURNAMES: [(&str, &str); 16] = [
    ("王", "wang"),
    ("李", "li"),
    ("张", "zhang"),
    ("刘", "liu"),
    ("陈", "chen"),
    ("杨", "yang"),
    ("黄", "huang"),
    ("赵", "zhao"),
    ("周", "zhou"),
    ("吴", "wu"),
    ("徐", "xu"),
    ("孙", "sun"),
    ("马", "ma"),
    ("朱", "zhu"),
    ("胡", "hu"),
    ("林", "lin"),
];
pub(super) const GIVEN: [&str; 20] = [
    "伟", "芳", "娜", "敏", "静", "磊", "洋", "艳", "勇", "杰", "建国", "秀英", "志强", "雪梅", "子涵",
    "浩然", "思远", "晓东", "雨桐", "俊杰",
];
/// What a contact does: title, department, part in decisions.
pub(super) const POSTS: [(&str, &str, &str); 6] = [
    ("总经理", "总经办", "决策人"),
    ("采购经理", "采购部", "采购"),
    ("技术总监", "技术部", "技术评估"),
    ("财务主管", "财务部", "付款"),
    ("项目经理", "项目部", "使用人"),
    ("行政助理", "行政部", "联络人"),
];
pub(super) const PHONE_PREFIXES: [&str; 8] = ["130", "135", "138", "139", "150", "177", "186", "189"];
pub(super) const SOURCES: [&str; 6] = ["官网", "展会", "转介绍", "电话营销", "广告", "老客户"];
pub(super) const LEVELS: [&str; 4] = ["A", "B", "B", "C"];

pub(super) const PRODUCTS: [&str; 10] = [
    "CRM上线",
    "系统集成",
    "设备采购",
    "年度框架",
    "维保续签",
    "产线升级",
    "数据平台",
    "仓储改造",
    "咨询服务",
    "培训",
];
/// A currency, and the least and most of its minor units that deals are worth: yen have no smaller unit.
pub(super) const CURRENCIES: [(&str, i64, i64); 4] = [
    ("USD", 800_000, 30_000_000),
    ("EUR", 700_000, 28_000_000),
    ("HKD", 5_000_000, 200_000_000),
    ("JPY", 1_000_000, 40_000_000),
];
/// Deals at home: 20,000 to 3,000,000 yuan.
pub(super) const YUAN: (&str, i64, i64) = ("CNY", 2_000_000, 300_000_000);
pub(super) const LOST_REASONS: [&str; 5] =
    ["价格高于竞品", "预算取消", "选择了竞争对手", "项目延期", "需求变化"];

/// A type of follow-up and what is written of such.
pub(super) const FOLLOW_UPS: [(&str, &str); 12] = [
    ("call", "电话沟通，客户对报价有兴趣，约下周面谈"),
    ("call", "回访，客户反馈内部还在走审批流程"),
    ("call", "确认收货地址和开票信息"),
    ("visit", "上门拜访，介绍方案，客户要求补充同行案例"),
    ("visit", "现场调研，记录产线和仓储的需求"),
    ("meeting", "线上会议，演示系统，技术部提出接口问题"),
    ("meeting", "合同条款讨论：付款 3-6-1，质保一年"),
    ("email", "发送报价单 v2，等待内部审批"),
    ("email", "发送案例集和产品白皮书"),
    ("wechat", "微信沟通，客户询问交付周期"),
    ("wechat", "节日问候，客户提到明年有扩产计划"),
    ("note", "竞品报价更低，需要申请折扣"),
];
